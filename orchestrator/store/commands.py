"""Commands: each is carried out once, however often it comes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.versions import VersionState
from orchestrator.store.database import insert_new
from orchestrator.store.tables import commands, ensembles, model_wishes, outbox, wishes
from schemas.base import Reason
from schemas.commands import Command
from schemas.envelope import decode
from schemas.experiments import ExperimentRejected
from schemas.topics import COMMANDS, EXPERIMENT_EVENTS

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class Made:
    """A version of an ensemble that a command asked for last."""

    ensemble: str
    version: int
    state: VersionState
    reasons: Reasons


@dataclass(frozen=True)
class Standing:
    """What has become of a command that has come in."""

    received_at: datetime
    reasons: Reasons
    """Why it could not be carried out."""
    open: bool
    """What it asks for is still to be made."""
    made: Made | None

    @property
    def under_way(self) -> bool:
        """What it asks for has not come to its end."""
        return self.open or (self.made is not None and self.made.state is VersionState.WANTED)


async def claim(tx: AsyncSession, command_id: str, raw: bytes, now: datetime) -> Reasons | None:
    """Claim a command's id. None: it is new; else why it was refused when it first came, nothing if it was done."""
    row = {"command_id": command_id, "raw": raw, "reasons": (), "received_at": now}
    return None if await insert_new(tx, commands, [row]) else await outcome(tx, command_id)


async def outcome(tx: AsyncSession, command_id: str) -> Reasons | None:
    """Why a command was refused, nothing if it was carried out; None: it has not come yet."""
    reasons: Reasons | None = await tx.scalar(select(commands.c.reasons).where(commands.c.command_id == command_id))
    return reasons


async def given(tx: AsyncSession, command_id: str) -> Command | None:
    """The command of this id; None: it has not come in yet."""
    raw = await tx.scalar(select(commands.c.raw).where(commands.c.command_id == command_id))
    command: Command | None = None if raw is None else decode(COMMANDS.messages, raw)
    return command


async def refuse(tx: AsyncSession, command_id: str, reasons: Reasons) -> None:
    """A command that was claimed cannot be carried out."""
    await tx.execute(update(commands).where(commands.c.command_id == command_id).values(reasons=reasons))


async def standing(tx: AsyncSession, command_id: str) -> Standing | None:
    """What has become of a command; None: it has not come in yet."""
    columns = commands.c["reasons", "received_at"]
    row = (await tx.execute(select(*columns).where(commands.c.command_id == command_id))).one_or_none()
    if row is None:
        return None
    waiting = [select(func.count()).where(each.c.command_id == command_id) for each in (wishes, model_wishes)]
    still_open = sum([await tx.scalar(each) or 0 for each in waiting]) > 0
    version = ensembles.c["ensemble", "version", "state", "reasons"]
    made = (await tx.execute(select(*version).where(ensembles.c.command_id == command_id))).first()
    return Standing(
        received_at=row.received_at,
        reasons=row.reasons or await _turned_down(tx, command_id),
        open=still_open,
        made=None if made is None else Made(**made._mapping),
    )


async def _turned_down(tx: AsyncSession, command_id: str) -> Reasons:
    """Why what a command asked for was not made after all: the event that says so is the only one of its key."""
    event = outbox.c.message_id == f"{EXPERIMENT_EVENTS.name}:{command_id}:1"
    value = await tx.scalar(select(outbox.c.value).where(event))
    told = None if value is None else decode(EXPERIMENT_EVENTS.messages, value)
    return told.reasons if isinstance(told, ExperimentRejected) else ()
