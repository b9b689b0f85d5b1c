"""The commands agent's work: what operators ask of something that exists, each command carried out once."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.resuming import Resuming
from orchestrator.store import commands, ensembles, resuming, wishes
from orchestrator.store.database import Database
from schemas.base import Reason
from schemas.commands import Cancel, Command, Delete, DeployEnsemble, Resume, RollBack
from schemas.envelope import Undecodable, decode
from schemas.search import Deploy
from schemas.topics import COMMANDS
from streams.dead_letters import dead_letter
from streams.metrics import DEAD_LETTERS
from streams.publisher import Publishing
from streams.source import Record

log = structlog.get_logger(__name__)

Reasons = tuple[Reason, ...]


class Commands:
    """Carries commands out.

    Args:
        database: where what they are about is.
        publisher: where those go that cannot be carried out, as dead letters with the reasons.
        clock: the time.
        may_resume: what may be gone on with.
        on_change: called when something is to be launched or ended.
    """

    def __init__(
        self,
        *,
        database: Database,
        publisher: Publishing,
        clock: Callable[[], datetime],
        may_resume: Resuming,
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._may_resume = may_resume
        self._on_change = on_change

    async def take(self, records: Sequence[Record]) -> None:
        """Carry out the commands of a batch, in order.

        Raises:
            NotDelivered: a dead letter was not acknowledged; the batch is taken again, and what was done stays done.
            DatabaseAway: the store did not take one; as above.
        """
        now = self._clock()
        for record in records:
            reasons = await self._carried_out(record, now)
            if reasons:
                await self._publisher.publish([dead_letter(record, reasons, now)])
                DEAD_LETTERS.labels(record.topic).inc()
                log.warning("command_refused", offset=record.offset, reasons=[*map(str, reasons)])
            else:
                self._on_change()

    async def _carried_out(self, record: Record, now: datetime) -> Reasons:
        """Why a command was not carried out; nothing: it was, now or when it came before."""
        try:
            command: Command = decode(COMMANDS.messages, record.value)
        except Undecodable as fault:
            return fault.reasons
        return await self._database.commit(partial(self._carry_out, command, record.value or b"", now))

    async def _carry_out(self, command: Command, raw: bytes, now: datetime, tx: AsyncSession) -> Reasons:
        known = await commands.claim(tx, command.command_id, raw, now)
        if known is not None:
            return known
        reasons = await self._do(tx, command, now)
        if reasons:
            await commands.refuse(tx, command.command_id, reasons)
        else:
            log.info("command_carried_out", command=command.command, command_id=command.command_id)
        return reasons

    async def _do(self, tx: AsyncSession, command: Command, now: datetime) -> Reasons:
        match command:
            case Cancel():
                return await resuming.cancel(tx, command.experiment, now)
            case Resume():
                return await resuming.resume(tx, command.experiment, self._may_resume, now)
            case DeployEnsemble():
                return await _deploy(tx, command, now)
            case RollBack():
                return await ensembles.roll_back(tx, command.ensemble, command.version, command.command_id, now)
            case Delete():
                return await ensembles.delete(tx, command.ensemble, command.command_id, now)
        message = (
            f"this version does not carry out {command.command} yet: cancel, resume, deploy, roll_back and delete are "
            "what it knows"
        )
        return (Reason(code="not_supported", where="/command", message=message),)


async def _deploy(tx: AsyncSession, command: DeployEnsemble, now: datetime) -> Reasons:
    """Have a driver make the ensemble; the gate speaks, and the version is wanted, when that is done."""
    if command.models:
        message = "models cannot be registered yet: leave `models` out, and name an experiment"
        return (Reason(code="not_supported", where="/models", message=message),)
    if command.experiment is None:
        message = "name the experiment whose best trials are to be deployed"
        return (Reason(code="nothing_to_deploy", where="/experiment", message=message),)
    deploy = Deploy(
        auto=True,
        ensemble_name=command.ensemble,
        top_n=command.top_n,
        voting=command.voting,
        threshold=command.threshold,
        mode=command.mode,
        gate=command.gate,
    )
    return await wishes.wish(tx, command.command_id, command.experiment, command.ensemble, deploy, now)
