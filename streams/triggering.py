"""What a trigger asks for: a search near to the champion, on the data until now, whose best becomes its challenger."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.algorithms.base import trainer
from orchestrator.core.errors import Refused
from orchestrator.core.neighbourhood import successor
from orchestrator.store import retraining
from orchestrator.store.database import Database
from orchestrator.store.evidence import Case, Origins, origins
from orchestrator.store.retraining import MOST_JOINED, Trigger
from schemas.base import JsonObject, Reason
from schemas.search import Deploy, SearchRequest
from streams.judging import Admissible

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


async def fire(tx: AsyncSession, case: Case, ask: Ask, causes: Sequence[JsonObject], now: datetime) -> Trigger:
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
    await retraining.fire(tx, trigger, request, case.champion.version, now)
    return trigger


async def join(tx: AsyncSession, trigger: Trigger, causes: Sequence[JsonObject]) -> None:
    """The causes join a trigger, as far as it takes more."""
    for each in causes:
        await retraining.join(tx, trigger.request_id, {**each, "trigger": trigger.request_id})


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
