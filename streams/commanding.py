"""The commands agent's work: what operators ask of something that exists, each command carried out once."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.calendar import calendar_named
from orchestrator.core.gate import Override
from orchestrator.core.models import UNJUDGED, at_odds
from orchestrator.core.resuming import Resuming
from orchestrator.core.retraining import faults
from orchestrator.store import challengers, commands, ensembles, models, resuming, retraining, wishes
from orchestrator.store.database import Database
from schemas.base import Reason
from schemas.commands import (
    AddMember,
    Cancel,
    Command,
    Delete,
    DeployEnsemble,
    Promote,
    RemovePolicy,
    ResendDeadLetter,
    Resume,
    Retire,
    Retrain,
    RollBack,
    SetPolicy,
)
from schemas.envelope import Undecodable, decode
from schemas.search import Deploy
from schemas.topics import COMMANDS
from streams.dead_letters import dead_letter
from streams.metrics import DEAD_LETTERS
from streams.publisher import Publishing
from streams.resending import Resending
from streams.source import Record
from streams.triggering import Ask, Judging, asked_by_hand, by_hand

log = structlog.get_logger(__name__)

Reasons = tuple[Reason, ...]


class Commands:
    """Carries commands out.

    Args:
        database: where what they are about is.
        publisher: where those go that cannot be carried out, as dead letters with the reasons.
        clock: the time.
        may_resume: what may be gone on with.
        resending: sends dead letters again.
        judge: says what a search request amounts to.
        override: what may be heard that the gate has not let through.
        on_change: called when something is to be launched or ended.
    """

    def __init__(
        self,
        *,
        database: Database,
        publisher: Publishing,
        clock: Callable[[], datetime],
        may_resume: Resuming,
        resending: Resending,
        judge: Judging,
        override: Override,
        on_change: Callable[[], None],
    ) -> None:
        self._resending = resending
        self._judge = judge
        self._override = override
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._may_resume = may_resume
        self._on_change = on_change

    async def take(self, records: Sequence[Record]) -> None:
        """Carry out the commands of a batch, in order.

        Raises:
            NotDelivered: a dead letter, or one that is sent again, was not acknowledged; the batch is taken again, and
                what was done stays done.
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
        # The broker is never waited for inside a transaction.
        ready = await self._prepared(command, now)
        return await self._database.commit(partial(self._carry_out, command, record.value or b"", ready, now))

    async def _prepared(self, command: Command, now: datetime) -> Ask | Reasons:
        """What must be done, or found out, before the transaction that carries a command out; or why it cannot be."""
        match command:
            case ResendDeadLetter():
                return await self._resent(command)
            case Retrain():
                return await asked_by_hand(self._database, command, self._judge, now)
        return ()

    async def _resent(self, command: ResendDeadLetter) -> Reasons:
        async with self._database.snapshot() as tx:
            known = await commands.outcome(tx, command.command_id)
        return await self._resending.resend(command) if known is None else known

    async def _carry_out(
        self, command: Command, raw: bytes, ready: Ask | Reasons, now: datetime, tx: AsyncSession
    ) -> Reasons:
        known = await commands.claim(tx, command.command_id, raw, now)
        if known is not None:
            return known
        reasons = await self._do(tx, command, ready, now)
        if reasons:
            await commands.refuse(tx, command.command_id, reasons)
        else:
            log.info("command_carried_out", command=command.command, command_id=command.command_id)
        return reasons

    async def _do(self, tx: AsyncSession, command: Command, ready: Ask | Reasons, now: datetime) -> Reasons:
        match command:
            case Cancel():
                return await resuming.cancel(tx, command.experiment, now)
            case Resume():
                return await resuming.resume(tx, command.experiment, self._may_resume, now)
            case DeployEnsemble():
                return await _deploy(tx, command, now)
            case AddMember():
                return await _add_member(tx, command, now)
            case RollBack(ensemble=ensemble, version=version, command_id=command_id, reasons=reasons):
                return await ensembles.roll_back(tx, ensemble, version, command_id, now, reasons)
            case Delete():
                return await ensembles.delete(tx, command.ensemble, command.command_id, now)
            case Promote(ensemble=ensemble, version=version, tickers=tickers, command_id=command_id, reasons=reasons):
                return await challengers.promote(
                    tx, ensemble, version, tickers, self._override, command_id, now, reasons
                )
            case Retire(ensemble=ensemble, version=version, command_id=command_id, reasons=reasons):
                return await challengers.retire(tx, ensemble, version, command_id, now, reasons)
            case SetPolicy():
                return await _set_policy(tx, command, now)
            case RemovePolicy():
                return await _remove_policy(tx, command)
            case Retrain():
                return await by_hand(tx, command, ready, now)
            case ResendDeadLetter():
                return () if isinstance(ready, Ask) else ready


async def _set_policy(tx: AsyncSession, command: SetPolicy, now: datetime) -> Reasons:
    known = await ensembles.versions(tx, command.ensemble)
    if not known:
        return (ensembles.unknown(command.ensemble),)
    about = ensembles.serving_of(known) or known[-1]
    if found := faults(command.policy, about.tickers, calendar_named(about.manifest["calendar"]), now):
        return found
    await retraining.set_policy(tx, command.ensemble, command.policy, command.command_id, now)
    return ()


async def _remove_policy(tx: AsyncSession, command: RemovePolicy) -> Reasons:
    if await retraining.remove_policy(tx, command.ensemble):
        return ()
    message = f"{command.ensemble} has no policy"
    return (Reason(code="unknown_policy", where="/ensemble", message=message),)


async def _deploy(tx: AsyncSession, command: DeployEnsemble, now: datetime) -> Reasons:
    """Have a driver make the ensemble; the gate speaks, and the version is wanted, when that is done."""
    if command.models:
        return await _deploy_models(tx, command, now)
    if command.experiment is None:
        message = "name the experiment whose best trials are to be deployed, or registered models"
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


async def _deploy_models(tx: AsyncSession, command: DeployEnsemble, now: datetime) -> Reasons:
    """Have a version made of registered models, which takes a while: their calibration reads bars."""
    if command.experiment is not None:
        message = "name an experiment or models, not both: a member is added by add_member"
        return (Reason(code="experiment_and_models", where="/models", message=message),)
    if command.gate:
        message = f"{UNJUDGED.message}: ask with gate false, and GATE_OVERRIDE says what the ensemble may do"
        return (Reason(code=UNJUDGED.code, where="/gate", message=message),)
    found = await models.of_digests(tx, command.models)
    if unknown := tuple(_unknown(digest) for digest in command.models if digest not in found):
        return unknown
    if odds := tuple(at_odds([found[digest] for digest in command.models])):
        return odds
    await models.wish(tx, command, now)
    return ()


async def _add_member(tx: AsyncSession, command: AddMember, now: datetime) -> Reasons:
    """Have a version made of what serves and one model more; what serves is looked up when it is made."""
    model = (await models.of_digests(tx, [command.model])).get(command.model)
    if model is None:
        return (_unknown(command.model),)
    if command.ticker is not None and command.ticker not in model.tickers:
        message = f"{model.name} is registered for {', '.join(model.tickers)}, and not for {command.ticker}"
        return (Reason(code="ticker_not_covered", where="/ticker", message=message[:4096]),)
    if not await ensembles.versions(tx, command.ensemble):
        return (ensembles.unknown(command.ensemble),)
    await models.wish(tx, command, now)
    return ()


def _unknown(digest: str) -> Reason:
    message = "no model of this digest is registered: `orchestrator models register` does that, and `list` shows them"
    return Reason(code="unknown_model", where=digest, message=message)
