"""Numbers without gaps: one row per series, whose lock is held until the transaction ends."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.tables import sequences


async def take_sequences(tx: AsyncSession, scope: str, key: str, count: int = 1) -> int:
    """Take the next `count` numbers of the series (`scope`, `key`) and return the first; a series begins at 1.

    Whoever takes from the same series next waits until this transaction ends. Rolled back, the numbers are free again.
    """
    row = (sequences.c.scope == scope) & (sequences.c.key == key)
    taking = update(sequences).where(row).values(last=sequences.c.last + count).returning(sequences.c.last)
    while (last := await tx.scalar(taking)) is None:
        await insert_new(tx, sequences, [{"scope": scope, "key": key, "last": 0}])
    return int(last) - count + 1


async def lock_sequence(tx: AsyncSession, scope: str, key: str) -> None:
    """Take no number, but hold the series: whoever takes or locks it next waits until this transaction ends."""
    await take_sequences(tx, scope, key, 0)
