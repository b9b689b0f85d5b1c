"""What following each version's own signals earns."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.performance import Account
from orchestrator.store.tables import books


async def of(tx: AsyncSession, ensemble: str) -> dict[int, Account]:
    """An ensemble's books, by version."""
    found = select(books).where(books.c.ensemble == ensemble).order_by(books.c.version)
    return {row.version: row.account for row in await tx.execute(found)}
