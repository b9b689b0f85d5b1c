"""Books: what following each version's own signals has earned, live or in shadow, on whichever topic they are.

They are written with what was read of the signals (`orchestrator.store.performance`).
"""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.performance import Account
from orchestrator.store.performance import put
from orchestrator.store.tables import books


async def every(tx: AsyncSession) -> dict[tuple[str, int], Account]:
    """Every version's account, by ensemble and version."""
    return {(row.ensemble, row.version): row.account for row in await tx.execute(select(books))}


async def of(tx: AsyncSession, ensemble: str) -> dict[int, Account]:
    """The accounts of an ensemble's versions, by version."""
    found = select(books).where(books.c.ensemble == ensemble).order_by(books.c.version)
    return {row.version: row.account for row in await tx.execute(found)}


async def save(tx: AsyncSession, changed: Mapping[tuple[str, int], Account]) -> None:
    """Write accounts, in the transaction of what they were followed by."""
    for (ensemble, version), account in changed.items():
        await put(tx, books, {"ensemble": ensemble, "version": version, "account": account})
