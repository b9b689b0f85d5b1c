"""Search requests: each is settled once, and only once, whoever else is at it.

Admission asks no question first. It inserts, and the unique indexes on request ids, names and the search keys under way
say what is there already.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import SEARCHING, State
from orchestrator.core.queueing import later
from orchestrator.core.resuming import EVERYTHING, Resuming
from orchestrator.store import resuming
from orchestrator.store.database import insert_new
from orchestrator.store.experiments import Experiment
from orchestrator.store.outbox import append
from orchestrator.store.tables import RequestOutcome, experiments, names, requests
from schemas.base import Message, Reason
from schemas.experiments import ExperimentAccepted, ExperimentDuplicate, ExperimentRejected
from schemas.search import Deploy, SearchRequest
from schemas.topics import EXPERIMENT_EVENTS

_LONGEST_NAME = 64
_ATTEMPTS = 10


@dataclass(frozen=True)
class Accepted:
    """The request founded this experiment."""

    experiment: str


@dataclass(frozen=True)
class Duplicate:
    """The experiment does, or under the same name has done, the same work; the request's deploy clause is kept."""

    experiment: str


@dataclass(frozen=True)
class Known:
    """The request id founded this experiment, or attached to it, before; nothing was written."""

    experiment: str


@dataclass(frozen=True)
class NameTaken:
    """The request was rejected, since the name it asks for belongs to another experiment."""

    experiment: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class NotResumed:
    """The request was rejected, since the experiment that it names is not there, or cannot be gone on with."""

    experiment: str
    """The name that was asked for; empty where there was none."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class TooSoon:
    """The request was rejected, since the search that it would join has not begun to exist yet."""

    experiment: str
    """The request id of that search."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Rejected:
    """The request was rejected for reasons of its own."""

    reasons: tuple[Reason, ...]


Admission = Accepted | Duplicate | Known | NameTaken | NotResumed | TooSoon


@dataclass(frozen=True)
class _Arrival:
    """A request whose id is claimed, and what its transaction needs to settle it."""

    tx: AsyncSession
    request_id: str
    now: datetime
    traceparent: str | None

    async def settle(self, outcome: RequestOutcome, experiment: str | None, event: Message, **columns: Any) -> None:
        settled = update(requests).where(requests.c.request_id == self.request_id)
        await self.tx.execute(settled.values(outcome=outcome, experiment=experiment, **columns))
        key = experiment if experiment is not None else self.request_id
        await append(self.tx, EXPERIMENT_EVENTS, key, event, self.now, self.traceparent)

    async def reject(self, reasons: tuple[Reason, ...]) -> None:
        event = ExperimentRejected(
            experiment=None, request_id=self.request_id, sequence=0, emitted_at=self.now, reasons=reasons
        )
        await self.settle(RequestOutcome.REJECTED, None, event, reasons=reasons)


async def admit(
    tx: AsyncSession,
    request: SearchRequest,
    *,
    raw: bytes,
    trials: int,
    search_key: str,
    now: datetime,
    traceparent: str | None = None,
    may_resume: Resuming = EVERYTHING,
) -> Admission:
    """Settle a request that is fit to be done, with its `accepted`, `duplicate` or `rejected` event.

    Args:
        tx: the open transaction.
        request: what `raw` decodes to.
        raw: the record's value as it came.
        trials: how many trials the search will plan.
        search_key: digest of what makes two requests the same work.
        now: when it is settled.
        traceparent: W3C trace context of the request; the experiment's events carry it on.
        may_resume: what a request with `resume` may go on with.
    """
    arrival = await _claim(tx, request.request_id, raw, now, traceparent)
    if arrival is None:
        return await _known(tx, request.request_id)
    if request.resume:
        return await _resume(arrival, request, search_key, may_resume)
    for name in _ids(request, raw, now):
        if await _found(arrival, name, request, trials, search_key):
            return Accepted(name)
        same_work = (experiments.c.search_key == search_key) & experiments.c.state.in_(SEARCHING)
        if holder := (await tx.execute(select(experiments).where(same_work).with_for_update())).one_or_none():
            return await _attach(arrival, request, holder)
        if request.name is not None and (owner := await _owner(tx, request.name)):
            return await _refuse_name(arrival, request.name, owner)
        # The one in the way has ended meanwhile, or a generated id was taken: the next attempt may succeed.
    raise RuntimeError(f"request {request.request_id} was overtaken {_ATTEMPTS} times: deliver it again")


async def attach(
    tx: AsyncSession,
    request: SearchRequest,
    experiment: str,
    *,
    raw: bytes,
    now: datetime,
    traceparent: str | None = None,
) -> Duplicate | Known:
    """Settle a request that an experiment answers, whatever it asks for; nothing is deployed because of it."""
    arrival = await _claim(tx, request.request_id, raw, now, traceparent)
    if arrival is None:
        return await _known(tx, request.request_id)
    event = _duplicate(experiment, request, arrival)
    await arrival.settle(RequestOutcome.DUPLICATE, experiment, event, deploy=Deploy())
    return Duplicate(experiment)


async def reject(
    tx: AsyncSession,
    request_id: str,
    reasons: tuple[Reason, ...],
    *,
    raw: bytes,
    now: datetime,
    traceparent: str | None = None,
) -> Rejected | Known:
    """Settle a request that is not fit to be done, with its `rejected` event, keyed by the request id."""
    arrival = await _claim(tx, request_id, raw, now, traceparent)
    if arrival is None:
        return await _known(tx, request_id)
    await arrival.reject(reasons)
    return Rejected(reasons)


async def settled(tx: AsyncSession, request_ids: Sequence[str]) -> dict[str, bytes]:
    """The records' values, as they came, of those requests that founded an experiment or attached to one; by id."""
    kept = requests.c.request_id.in_(request_ids) & requests.c.outcome.in_(
        [RequestOutcome.ACCEPTED, RequestOutcome.DUPLICATE]
    )
    rows = await tx.execute(select(requests.c.request_id, requests.c.raw).where(kept))
    return {row.request_id: row.raw for row in rows}


async def deploy_clauses(tx: AsyncSession, experiment: str) -> dict[str, Deploy]:
    """The deploy clause of each request that founded the experiment or attached to it, by request id, oldest first."""
    asked = select(requests.c.request_id, requests.c.deploy).where(requests.c.experiment == experiment)
    rows = await tx.execute(asked.order_by(requests.c.received_at, requests.c.request_id))
    return {row.request_id: row.deploy for row in rows}


async def _claim(
    tx: AsyncSession, request_id: str, raw: bytes, now: datetime, traceparent: str | None
) -> _Arrival | None:
    """Claim the id; None: it is settled. One that was rejected is free: its mended message, or a letter sent again, is
    judged anew."""
    row = {
        "request_id": request_id,
        "outcome": RequestOutcome.RECEIVED,
        "raw": raw,
        "reasons": (),
        "traceparent": traceparent,
        "received_at": now,
    }
    arrival = _Arrival(tx, request_id, now, traceparent)
    if await insert_new(tx, requests, [row]):
        return arrival
    rejected = (requests.c.request_id == request_id) & (requests.c.outcome == RequestOutcome.REJECTED)
    taken_over = await tx.execute(update(requests).where(rejected).values(row).returning(requests.c.request_id))
    return arrival if taken_over.one_or_none() is not None else None


async def _known(tx: AsyncSession, request_id: str) -> Known:
    experiment: str = (
        await tx.execute(select(requests.c.experiment).where(requests.c.request_id == request_id))
    ).scalar_one()
    return Known(experiment)


def _ids(request: SearchRequest, raw: bytes, now: datetime) -> list[str]:
    """The ids to try in turn: the name that was asked for, or made ones that differ in their last six digits."""
    if request.name is not None:
        return [request.name] * _ATTEMPTS
    digest = hashlib.sha256(raw).hexdigest()
    stamp = now.astimezone(UTC).strftime("_%Y%m%d_%H%M%S_")
    stem = f"{request.strategy}_{request.algorithm}"[: _LONGEST_NAME - len(stamp) - 6]
    return [f"{stem}{stamp}{digest[6 * n : 6 * n + 6]}" for n in range(_ATTEMPTS)]


async def _found(arrival: _Arrival, name: str, request: SearchRequest, trials: int, search_key: str) -> bool:
    """Write the experiment, its name and its `accepted` event, or, where an index forbids it, nothing."""
    row = {
        "id": name,
        "request_id": request.request_id,
        "search_key": search_key,
        "state": State.ACCEPTED,
        "request": request,
        "priority": request.priority,
        "expires_at": request.expires_at,
        "trials": trials,
        "reasons": (),
        "traceparent": arrival.traceparent,
        "created_at": arrival.now,
        "updated_at": arrival.now,
    }
    async with arrival.tx.begin_nested() as savepoint:
        if not (
            await insert_new(arrival.tx, experiments, [row])
            and await insert_new(arrival.tx, names, [{"name": name, "experiment": name}])
        ):
            await savepoint.rollback()
            return False
    event = ExperimentAccepted(
        experiment=name,
        name=name,
        request_id=request.request_id,
        sequence=0,
        emitted_at=arrival.now,
        strategy=request.strategy,
        algorithm=request.algorithm,
        tickers=request.tickers,
        trials=trials,
        search_key=search_key,
        cause=request.cause,
    )
    await arrival.settle(RequestOutcome.ACCEPTED, name, event, deploy=request.deploy)
    return True


async def _attach(arrival: _Arrival, request: SearchRequest, holder: Row[Any]) -> Duplicate | NameTaken:
    """Attach to the experiment of a locked row, which is from now on as urgent and as patient as this request is."""
    experiment = holder.id
    if request.name is not None and not await insert_new(
        arrival.tx, names, [{"name": request.name, "experiment": experiment}]
    ):
        owner = await _owner(arrival.tx, request.name)
        if owner is not None and owner != experiment:
            return await _refuse_name(arrival, request.name, owner)
    await _press(arrival, request, holder, later(holder.expires_at, request.expires_at))
    event = _duplicate(experiment, request, arrival)
    await arrival.settle(RequestOutcome.DUPLICATE, experiment, event, deploy=request.deploy)
    return Duplicate(experiment)


async def _resume(
    arrival: _Arrival, request: SearchRequest, search_key: str, may_resume: Resuming
) -> Duplicate | NotResumed:
    """Go on with the experiment of that name, or attach to it where it is under way."""
    found = await resuming.named(arrival.tx, request.name, search_key)
    if isinstance(found, Reason):
        reasons: tuple[Reason, ...] = (found,)
    elif found.state in SEARCHING:
        reasons = ()
    else:
        reasons = await resuming.resume(arrival.tx, found.id, may_resume, arrival.now)
    if isinstance(found, Reason) or reasons:
        await arrival.reject(reasons)
        return NotResumed(request.name or "", reasons)
    under_way = found.state in SEARCHING
    await _press(
        arrival, request, found, later(found.expires_at, request.expires_at) if under_way else request.expires_at
    )
    event = _duplicate(found.id, request, arrival)
    await arrival.settle(RequestOutcome.DUPLICATE, found.id, event, deploy=request.deploy)
    return Duplicate(found.id)


def _duplicate(experiment: str, request: SearchRequest, arrival: _Arrival) -> ExperimentDuplicate:
    return ExperimentDuplicate(
        experiment=experiment,
        request_id=request.request_id,
        sequence=0,
        emitted_at=arrival.now,
        cause=request.cause,
    )


async def _press(
    arrival: _Arrival, request: SearchRequest, holder: Row[Any] | Experiment, expires_at: datetime | None
) -> None:
    """Have an experiment as urgent as the request is, and wanted until `expires_at`."""
    wanted = {"priority": max(holder.priority, request.priority), "expires_at": expires_at}
    await arrival.tx.execute(update(experiments).where(experiments.c.id == holder.id).values(wanted))


async def _refuse_name(arrival: _Arrival, name: str, owner: str) -> NameTaken:
    reason = Reason(
        code="name_taken",
        where="/name",
        message=f"the name {name} belongs to experiment {owner}: choose another, or leave it out",
    )
    await arrival.reject((reason,))
    return NameTaken(owner, (reason,))


async def _owner(tx: AsyncSession, name: str) -> str | None:
    """The experiment that goes by this name."""
    return await tx.scalar(select(names.c.experiment).where(names.c.name == name))
