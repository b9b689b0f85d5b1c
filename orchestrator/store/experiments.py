"""Experiments: where each is, checked against the lifecycle, and the events that say so."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core import lifecycle
from orchestrator.core.lifecycle import State
from orchestrator.core.queueing import Waiting
from orchestrator.store.errors import UnknownExperiment
from orchestrator.store.outbox import append
from orchestrator.store.tables import experiments, names
from schemas.base import JsonObject, Reason
from schemas.experiments import (
    ExperimentCompleted,
    ExperimentEvent,
    ExperimentFailed,
    ExperimentProgress,
    ExperimentStarted,
    ExperimentWaiting,
    GatePassed,
    GateRefused,
    GateVerdict,
    SurvivorsSelected,
)
from schemas.search import SearchRequest
from schemas.topics import EXPERIMENT_EVENTS


@dataclass(frozen=True)
class Experiment:
    """An experiment as the database has it."""

    id: str
    request_id: str
    """The request that founded it."""
    search_key: str
    state: State
    request: SearchRequest
    priority: int
    """Of its most urgent request."""
    expires_at: datetime | None
    """Of its most patient request; None: it is wanted whenever it begins."""
    position: int | None
    """How many will begin before it, as it was last told; None unless it waits."""
    trials: int
    """Planned."""
    data_hash: dict[str, str] | None
    """By ticker; from the start on."""
    progress: JsonObject | None
    """Of the newest `progress` event: finished, failed, best, cached."""
    selection: JsonObject | None
    """Of the `survivors_selected` event: survivors, passed_over, effective_votes."""
    summary: JsonObject | None
    """Of the `completed` event: finished, failed, best, deflated_sharpe, seconds, cached."""
    verdict: GateVerdict | None
    reasons: tuple[Reason, ...]
    """Why it failed."""
    traceparent: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


async def advance(
    tx: AsyncSession, experiment: str, state: State, event: ExperimentEvent | None, now: datetime
) -> Experiment:
    """Move the experiment to `state` and queue the event that tells of it; what the event says is kept with it.

    Args:
        tx: the open transaction.
        experiment: its id.
        state: where it goes.
        event: its sequence is set here; None where another topic's event tells of the change.
        now: when it happens.

    Raises:
        UnknownExperiment: there is none of this id.
        IllegalTransition: the lifecycle does not lead from its state to this one.
    """
    current = await take(tx, experiment)
    lifecycle.advance(current.state, state)
    final = lifecycle.is_final(state, deploys=current.request.deploy.auto)
    changes: dict[str, Any] = {"state": state, "finished_at": now if final else None}
    if state is not State.WAITING:
        changes["position"] = None
    if state is State.RUNNING and current.started_at is None:
        changes["started_at"] = now
    if state is State.ACCEPTED:
        # Whoever resumes it wants it, whatever was said when it was first asked for.
        changes |= {"reasons": (), "summary": None, "selection": None, "expires_at": None}
    return await _change(tx, current, changes, event, now)


async def note(tx: AsyncSession, experiment: str, event: ExperimentEvent, now: datetime) -> Experiment:
    """Queue an event that changes no state, such as progress or the gate's verdict; what it says is kept.

    Raises:
        UnknownExperiment: there is none of this id.
    """
    return await _change(tx, await take(tx, experiment), {}, event, now)


async def take(tx: AsyncSession, experiment: str) -> Experiment:
    """The experiment, locked until the transaction ends.

    Raises:
        UnknownExperiment: there is none of this id.
    """
    row = (await tx.execute(select(experiments).where(experiments.c.id == experiment).with_for_update())).one_or_none()
    if row is None:
        raise UnknownExperiment(experiment)
    return Experiment(**row._mapping)


async def get(tx: AsyncSession, experiment: str) -> Experiment:
    """The experiment of this id.

    Raises:
        UnknownExperiment: there is none.
    """
    found = await by_name(tx, experiment)
    if found is None or found.id != experiment:
        raise UnknownExperiment(experiment)
    return found


async def by_name(tx: AsyncSession, name: str) -> Experiment | None:
    """The experiment that goes by `name`: its id, or the name that an attached duplicate asked for."""
    found = select(experiments).join(names, names.c.experiment == experiments.c.id).where(names.c.name == name)
    row = (await tx.execute(found)).one_or_none()
    return None if row is None else Experiment(**row._mapping)


async def aliases(tx: AsyncSession, experiment: str) -> list[str]:
    """The names that duplicates of the experiment asked for, in order."""
    others = (names.c.experiment == experiment) & (names.c.name != experiment)
    return [*await tx.scalars(select(names.c.name).where(others).order_by(names.c.name))]


async def in_states(tx: AsyncSession, *states: State, unjudged: bool = False) -> list[Experiment]:
    """The experiments in any of `states`, in the order of their turn: highest priority, then oldest, then id.

    `unjudged` leaves out those that the gate has judged already.
    """
    turn = (experiments.c.priority.desc(), experiments.c.created_at, experiments.c.id)
    found = select(experiments).where(experiments.c.state.in_(states)).order_by(*turn)
    rows = await tx.execute(found.where(experiments.c.verdict.is_(None)) if unjudged else found)
    return [Experiment(**row._mapping) for row in rows]


async def standing(tx: AsyncSession, names: Collection[str]) -> dict[str, State]:
    """Where experiments stand, by id."""
    rows = await tx.execute(select(experiments.c.id, experiments.c.state).where(experiments.c.id.in_(names)))
    return {row.id: row.state for row in rows}


async def is_repeated(tx: AsyncSession, experiment: str) -> bool:
    """Whether it has not begun, and the search of another one with the same search key has come to its end."""
    waiting = (experiments.c.id == experiment) & (experiments.c.state == State.WAITING)
    other = experiments.alias()
    searched = (other.c.search_key == experiments.c.search_key) & other.c.summary.is_not(null())
    same = select(other.c.id).join_from(experiments, other, searched).where(waiting)
    return await tx.scalar(same.limit(1)) is not None


async def waiting(tx: AsyncSession) -> list[Waiting]:
    """The experiments that have not begun, in any order."""
    columns = ("id", "priority", "created_at", "expires_at", "position")
    not_begun = experiments.c.state.in_([State.ACCEPTED, State.WAITING])
    return [Waiting(*row) for row in await tx.execute(select(*experiments.c[columns]).where(not_begun))]


async def _change(
    tx: AsyncSession, current: Experiment, changes: dict[str, Any], event: ExperimentEvent | None, now: datetime
) -> Experiment:
    changed = update(experiments).where(experiments.c.id == current.id)
    row = await tx.execute(changed.values(updated_at=now, **changes, **_said(event)).returning(experiments))
    if event is not None:
        caused = event.model_copy(update={"cause": current.request.cause})
        await append(tx, EXPERIMENT_EVENTS, current.id, caused, now, current.traceparent)
    return Experiment(**row.one()._mapping)


def _said(event: ExperimentEvent | None) -> dict[str, Any]:
    """The columns that an event speaks of."""
    match event:
        case ExperimentWaiting():
            return {"position": event.position}
        case ExperimentStarted():
            return {"trials": event.trials, "data_hash": event.data_hash}
        case ExperimentProgress():
            return {"progress": event.model_dump(mode="json", include={"finished", "failed", "best", "cached"})}
        case SurvivorsSelected():
            kept = {"survivors", "passed_over", "effective_votes"}
            return {"selection": event.model_dump(mode="json", include=kept)}
        case ExperimentCompleted():
            kept = {"finished", "failed", "best", "deflated_sharpe", "seconds", "cached"}
            return {"summary": event.model_dump(mode="json", include=kept)}
        case ExperimentFailed():
            return {"reasons": event.reasons}
        case GatePassed() | GateRefused():
            return {"verdict": event.verdict}
    return {}
