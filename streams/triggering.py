"""What a trigger asks for: a search near to the champion, on the data until now, whose best becomes its challenger."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.algorithms.base import trainer
from orchestrator.core.errors import Refused
from orchestrator.core.neighbourhood import successor
from orchestrator.core.retraining import in_the_way, postponed
from orchestrator.store import retraining
from orchestrator.store.database import Database
from orchestrator.store.evidence import Case, Origins, gather, origins
from orchestrator.store.retraining import MOST_JOINED, Trigger
from schemas.base import JsonObject, Reason
from schemas.commands import Retrain
from schemas.search import Deploy, SearchRequest
from streams.judging import Admissible
from streams.metrics import TRIGGERS

Reasons = tuple[Reason, ...]
Judging = Callable[[SearchRequest, datetime], Admissible]


@dataclass(frozen=True)
class Ask:
    """A search that could be asked for: its request, yet without the trigger's id and cause, and its trials."""

    request: SearchRequest
    trials: int


async def asked(database: Database, case: Case, judge: Judging, now: datetime) -> Ask | Reasons:
    """The search for a successor of the version that serves, or why there can be none.

    Args:
        database: where the champion's search is.
        case: of the ensemble.
        judge: says what a request amounts to.
        now: the time.

    Raises:
        OSError: the features cannot be looked at now.
    """
    async with database.snapshot() as tx:
        found = await origins(tx, case.champion)
    if found is None:
        message = f"version {case.champion.version} of {case.ensemble} is of registered models, and no search found it"
        return (Reason(code="not_searched_for", where="/ensemble", message=message),)
    if case.through is None:
        message = f"{case.ensemble} has answered no live tick yet: there is nothing new to learn from"
        return (Reason(code="no_live_bar", where="/ensemble", message=message),)
    try:
        # In a thread: a request may take long to judge, and ticks must not wait for it.
        judged = await asyncio.to_thread(judge, _request(case, found, case.through), now)
    except Refused as refused:
        return refused.reasons
    return Ask(judged.request, judged.trials)


async def fire(
    tx: AsyncSession,
    case: Case,
    ask: Ask,
    causes: Sequence[JsonObject],
    now: datetime,
    command_id: str | None = None,
) -> Trigger:
    """Ask for the search, because of the first cause; the others join it."""
    request_id = await retraining.next_request_id(tx, case.ensemble)
    cause, *joined = [{**each, "trigger": request_id} for each in causes]
    trigger = Trigger(
        request_id=request_id,
        ensemble=case.ensemble,
        version=case.champion.version,
        kind=cause["kind"],
        cause=cause,
        trials=ask.trials,
        joined=joined[:MOST_JOINED],
        fired_at=now,
    )
    request = ask.request.model_copy(update={"request_id": request_id, "cause": cause})
    await retraining.fire(tx, trigger, request, case.champion.version, now, command_id)
    return trigger


async def join(tx: AsyncSession, trigger: Trigger, causes: Sequence[JsonObject]) -> None:
    """The causes join a trigger, as far as it takes more."""
    for each in causes:
        await retraining.join(tx, trigger.request_id, {**each, "trigger": trigger.request_id})


async def asked_by_hand(database: Database, command: Retrain, judge: Judging, now: datetime) -> Ask | Reasons:
    """The search that a command asks for, or why there can be none; nothing, where what was triggered is in the way.

    Raises:
        OSError: the features cannot be looked at now.
    """
    async with database.snapshot() as tx:
        case = await gather(tx, command.ensemble, now)
    if case is None or in_the_way(case.policy.policy, case.evidence(), now) is not None:
        return ()
    return await asked(database, case, judge, now)


async def by_hand(tx: AsyncSession, command: Retrain, ask: Ask | Reasons, now: datetime) -> Reasons:
    """Trigger what a command asks for, or have it join what was triggered before.

    Args:
        tx: the transaction that carries the command out.
        command: it.
        ask: `asked_by_hand`.
        now: when.

    Returns:
        Why neither can be; nothing was written then.
    """
    await retraining.hold(tx, command.ensemble)
    case = await gather(tx, command.ensemble, now)
    if case is None:
        message = f"{command.ensemble} has no policy, or no version of it serves: set one, or ask for a search"
        return (Reason(code="no_policy", where="/ensemble", message=message),)
    policy, said = case.policy.policy, {**command.cause, "command_id": command.command_id, "actor": command.actor}
    causes = [told_cause("hand", case, said)]
    if reason := in_the_way(policy, case.evidence(), now):
        if case.newest is None:
            return (reason,)
        await join(tx, case.newest, causes)
        return ()
    if not isinstance(ask, Ask):
        return ask or (Reason(code="overtaken", where="/ensemble", message="another version serves now: ask again"),)
    # A person who asks in quiet hours means it.
    loud = policy.model_copy(update={"quiet": ()})
    if reason := postponed(loud, case.evidence(trials=ask.trials), case.calendar, now):
        return (reason,)
    await fire(tx, case, ask, causes, now, command.command_id)
    TRIGGERS.labels(case.ensemble, "hand").inc()
    return ()


def told_cause(kind: str, case: Case, said: JsonObject) -> JsonObject:
    """Why somebody asks, where no detector does: with the keys of every cause, and what they said."""
    of_detectors = dict.fromkeys(
        ("detector", "ticker", "feature", "figure", "threshold", "window_start", "window_end"), None
    )
    return {"kind": kind, "ensemble": case.ensemble, "version": case.champion.version, **of_detectors, "said": said}


def _request(case: Case, found: Origins, through: datetime) -> SearchRequest:
    """The request for a successor, under an id that no trigger has."""
    manifest = case.champion.manifest
    most = max(sum(ticker in each["records"] for each in manifest["members"]) for ticker in manifest["tickers"])
    return successor(
        found.request,
        found.origin,
        trainer(found.request.algorithm),
        [each["configuration"] for each in manifest["members"]],
        case.policy.policy.search,
        request_id="retrain",
        parent=found.experiment,
        cause={},
        through=through,
        deploy=Deploy(
            ensemble_name=case.ensemble,
            top_n=most,
            voting=manifest["voting"],
            threshold=manifest["threshold"] or None,
        ),
    )
