"""Commands: each is carried out once, however often it comes."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.tables import commands
from schemas.base import Reason

Reasons = tuple[Reason, ...]


async def claim(tx: AsyncSession, command_id: str, raw: bytes, now: datetime) -> Reasons | None:
    """Claim a command's id. None: it is new; else why it was refused when it first came, nothing if it was done."""
    row = {"command_id": command_id, "raw": raw, "reasons": (), "received_at": now}
    if await insert_new(tx, commands, [row]):
        return None
    reasons: Reasons = (
        await tx.execute(select(commands.c.reasons).where(commands.c.command_id == command_id))
    ).scalar_one()
    return reasons


async def refuse(tx: AsyncSession, command_id: str, reasons: Reasons) -> None:
    """A command that was claimed cannot be carried out."""
    await tx.execute(update(commands).where(commands.c.command_id == command_id).values(reasons=reasons))
