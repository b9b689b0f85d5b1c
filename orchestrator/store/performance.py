"""What following the ensembles' signals has earned, and up to which record of the signals that is known."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.performance import Account
from orchestrator.store.database import insert_new
from orchestrator.store.tables import performance, performance_read
from schemas.base import Mode

Place = tuple[str, int]
"""Topic and partition."""


async def read(tx: AsyncSession) -> dict[Place, int]:
    """The offset of the first record that is not in the accounts yet, of each partition that was read."""
    return {(row.topic, row.partition): row.next for row in await tx.execute(select(performance_read))}


async def accounts(tx: AsyncSession) -> dict[tuple[str, Mode], Account]:
    """Every account, by ensemble and mode."""
    return {(row.ensemble, row.mode): row.account for row in await tx.execute(select(performance))}


async def of(tx: AsyncSession, ensemble: str) -> dict[Mode, Account]:
    """An ensemble's accounts by mode."""
    found = select(performance).where(performance.c.ensemble == ensemble).order_by(performance.c.mode)
    return {row.mode: row.account for row in await tx.execute(found)}


async def save(
    tx: AsyncSession, changed: Mapping[tuple[str, Mode], Account], read_to: Mapping[Place, int] | None = None
) -> None:
    """Write accounts, and how far was read for them: both, or neither."""
    for (ensemble, mode), account in changed.items():
        await put(tx, performance, {"ensemble": ensemble, "mode": mode, "account": account})
    for (topic, partition), offset in (read_to or {}).items():
        await put(tx, performance_read, {"topic": topic, "partition": partition, "next": offset})


async def put(tx: AsyncSession, table: Table, row: Mapping[str, Any]) -> None:
    """Write a row instead of the one that has its key, where there is one."""
    if not await insert_new(tx, table, [row]):
        this = [column == row[column.name] for column in table.primary_key]
        await tx.execute(update(table).where(*this).values(row))
