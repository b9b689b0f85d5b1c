"""Search requests with a cause, of others than the policy, for an ensemble that has one: they are triggers, too."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.retraining import in_the_way
from orchestrator.store import requests, retraining
from orchestrator.store.evidence import Case, gather
from orchestrator.store.requests import Duplicate, Known, TooSoon
from orchestrator.store.retraining import Trigger
from schemas.base import JsonObject, Reason
from schemas.search import SearchRequest
from streams.judging import Admissible
from streams.metrics import TRIGGERS
from streams.triggering import join, told_cause


async def case_of(tx: AsyncSession, request: SearchRequest, now: datetime) -> Case | None:
    """The case of the ensemble that a request from outside is for; None: it is no such request, or came before.

    Nothing else is triggered for the ensemble until the transaction ends.
    """
    ensemble = request.deploy.ensemble_name
    if request.cause is None or ensemble is None or not request.deploy.auto or request.resume:
        return None
    if retraining.is_ours(request.request_id, ensemble) or await retraining.policy_of(tx, ensemble) is None:
        return None
    await retraining.hold(tx, ensemble)
    return await gather(tx, ensemble, now)


async def joined(
    tx: AsyncSession, case: Case, request: SearchRequest, raw: bytes, now: datetime, traceparent: str
) -> Duplicate | Known | TooSoon | None:
    """What becomes of a request that joins the newest trigger: its search answers it. None: it is a trigger of its own.

    Args:
        tx: the transaction that settles the request.
        case: of the ensemble that it is for.
        request: what came.
        raw: as it came.
        now: when.
        traceparent: its trace.
    """
    newest = case.newest
    if newest is None or in_the_way(case.policy.policy, case.evidence(), now) is None:
        return None
    if case.pending and newest.request_id != request.request_id:
        message = (
            f"{newest.request_id} was triggered just now, and is not a search yet: send the request again to join it"
        )
        return TooSoon(newest.request_id, (Reason(code="trigger_pending", where="/cause", message=message),))
    if case.experiment is None:
        return None
    outcome = await requests.attach(tx, request, case.experiment, raw=raw, now=now, traceparent=traceparent)
    if isinstance(outcome, Duplicate):
        await join(tx, newest, [_cause(case, request)])
    return outcome


async def record(tx: AsyncSession, case: Case, admitted: Admissible, now: datetime) -> None:
    """A request from outside was admitted: it is the newest trigger."""
    request = admitted.request
    trigger = Trigger(
        request_id=request.request_id,
        ensemble=case.ensemble,
        version=case.champion.version,
        kind="outside",
        cause={**_cause(case, request), "trigger": request.request_id},
        trials=admitted.trials,
        joined=[],
        fired_at=now,
    )
    await retraining.fire(tx, trigger, None, case.champion.version, now)
    TRIGGERS.labels(case.ensemble, "outside").inc()


def _cause(case: Case, request: SearchRequest) -> JsonObject:
    return told_cause("outside", case, {**(request.cause or {}), "request_id": request.request_id})
