"""Trials: planned, taken up and finished by the batch, with their events and out-of-fold histories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import String, bindparam, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.errors import TrialsNotOpen
from orchestrator.store.experiments import take
from orchestrator.store.outbox import append_all
from orchestrator.store.tables import TrialStatus, trial_histories, trial_steps, trials
from schemas.base import JsonObject, Reason
from schemas.topics import TRIAL_EVENTS
from schemas.trials import (
    TrialCached,
    TrialCompleted,
    TrialCreated,
    TrialFailed,
    TrialReported,
    TrialStarted,
    TrialStoppedEarly,
)

_OPEN = (TrialStatus.CREATED, TrialStatus.RUNNING)


@dataclass(frozen=True)
class PlannedTrial:
    """A configuration that will be tried."""

    trial: str
    """Unique in its experiment, and the same when the same search is planned again."""
    tickers: tuple[str, ...]
    configuration: JsonObject
    fingerprint: str
    data_hash: str
    parent: str | None = None
    """The trial that this one is a mutated clone of."""
    inherited: Sequence[tuple[JsonObject, int | None]] = ()
    """What its predictors had been trained by before it began: configurations and budgets, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Trial(PlannedTrial):
    """A trial as the database has it."""

    experiment: str
    status: TrialStatus
    metrics: dict[str, float | None] | None
    eligible: bool | None
    reasons: tuple[Reason, ...]
    """Why it failed, or is not eligible."""
    seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, eq=False)
class History:
    """What a trial said and earned out of fold."""

    prediction: npt.NDArray[Any]
    """(n_oof,) predicted returns in single or double precision, tests concatenated in fold order."""
    profit: npt.NDArray[np.float64]
    """(n_sessions,) net profit and loss by session."""


@dataclass(frozen=True)
class Reported:
    """A trial's score after a step of its training, until `budget` in all; None: the family's full one."""

    trial: str
    step: int
    budget: int | None
    metrics: dict[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...] = ()
    recorded_by: str | None = None
    """The experiment whose score it is, where it was known."""


@dataclass(frozen=True)
class Cached:
    """A trial whose final score was known: that of a step of `recorded_trial`, whose history becomes its own."""

    trial: str
    metrics: dict[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...]
    step: int
    budget: int | None
    recorded_by: str
    """The experiment of `recorded_trial`."""
    recorded_trial: str


@dataclass(frozen=True, eq=False)
class Completed:
    """A trial that has its final score."""

    trial: str
    metrics: dict[str, float | None]
    eligible: bool
    seconds: float
    history: History
    reasons: tuple[Reason, ...] = ()
    step: int = 1
    budget: int | None = None


@dataclass(frozen=True)
class Failed:
    """A trial that ended without a score."""

    trial: str
    reasons: tuple[Reason, ...]
    seconds: float


async def plan(tx: AsyncSession, experiment: str, planned: Sequence[PlannedTrial], now: datetime) -> tuple[str, ...]:
    """Write the trials that are not there yet, with `created` events in the order given, and return their names.

    Raises:
        UnknownExperiment: there is none of this id.
    """
    found = await take(tx, experiment)
    rows = [
        {
            **vars(trial),
            "experiment": experiment,
            "status": TrialStatus.CREATED,
            "reasons": (),
            "created_at": now,
        }
        for trial in planned
    ]
    written = {trial for _, trial in await insert_new(tx, trials, rows)}
    new = [trial for trial in planned if trial.trial in written]
    events = [TrialCreated(**_heading(experiment, trial, now), parent=trial.parent) for trial in new]
    await append_all(tx, TRIAL_EVENTS, experiment, events, now, found.traceparent)
    return tuple(trial.trial for trial in new)


async def start(tx: AsyncSession, experiment: str, names: Sequence[str], now: datetime) -> None:
    """Workers have taken up the trials of these `names`; one that was under way when a driver died starts again.

    Raises:
        UnknownExperiment: there is none of this id.
        TrialsNotOpen: some were never planned or have ended.
    """
    found = await take(tx, experiment)
    taken = await _open(tx, experiment, names)
    started = update(trials).where((trials.c.experiment == experiment) & trials.c.trial.in_(names))
    await tx.execute(started.values(status=TrialStatus.RUNNING, started_at=now))
    events = [TrialStarted(**_heading(experiment, trial, now)) for trial in taken]
    await append_all(tx, TRIAL_EVENTS, experiment, events, now, found.traceparent)


Ended = Completed | Cached | Failed


async def finish(tx: AsyncSession, experiment: str, outcomes: Sequence[Ended], now: datetime) -> None:
    """Write how the trials ended, their histories, and `completed`, `cached` and `failed` events in the order given.

    Raises:
        UnknownExperiment: there is none of this id.
        TrialsNotOpen: some were never planned or have ended.
    """
    found = await take(tx, experiment)
    ended = await _open(tx, experiment, [outcome.trial for outcome in outcomes])
    if not ended:
        return
    finished = update(trials).where(
        (trials.c.experiment == bindparam("in_experiment")) & (trials.c.trial == bindparam("of_trial"))
    )
    await tx.execute(finished, [_ending(experiment, outcome, now) for outcome in outcomes])
    completed = {outcome.trial: outcome.history for outcome in outcomes if isinstance(outcome, Completed)}
    await keep_histories(tx, experiment, completed)
    await _share_histories(tx, experiment, [outcome for outcome in outcomes if isinstance(outcome, Cached)])
    await _note_steps(tx, experiment, [_last_step(each) for each in outcomes if not isinstance(each, Failed)])
    events = [_ended(experiment, trial, outcome, now) for trial, outcome in zip(ended, outcomes, strict=True)]
    await append_all(tx, TRIAL_EVENTS, experiment, events, now, found.traceparent)


async def report(tx: AsyncSession, experiment: str, reported: Sequence[Reported], now: datetime) -> None:
    """Write scores of trials that go on, and `reported` events in the order given; a trial may have several.

    Raises:
        UnknownExperiment: there is none of this id.
        TrialsNotOpen: some were never planned or have ended.
    """
    if not reported:
        return
    found = await take(tx, experiment)
    running = {each.trial: each for each in await _open(tx, experiment, sorted({each.trial for each in reported}))}
    await _note_steps(tx, experiment, reported)
    events = [
        TrialReported(
            **_heading(experiment, running[each.trial], now),
            step=each.step,
            budget=each.budget,
            metrics=each.metrics,
            recorded_by=each.recorded_by,
        )
        for each in reported
    ]
    await append_all(tx, TRIAL_EVENTS, experiment, events, now, found.traceparent)


async def stop(tx: AsyncSession, experiment: str, names: Sequence[str], now: datetime) -> None:
    """Others promise more than the trials of these `names`: each ends with the score of its last step.

    Raises:
        UnknownExperiment: there is none of this id.
        TrialsNotOpen: some were never planned or have ended.
    """
    if not names:
        return
    found = await take(tx, experiment)
    stopped = await _open(tx, experiment, names)
    latest = {trial: each[max(each)] for trial, each in (await steps(tx, experiment)).items()}
    update_one = update(trials).where(
        (trials.c.experiment == bindparam("in_experiment")) & (trials.c.trial == bindparam("of_trial"))
    )
    endings = [
        {
            "in_experiment": experiment,
            "of_trial": name,
            "status": TrialStatus.STOPPED_EARLY,
            "metrics": latest[name].metrics if name in latest else {},
            "eligible": latest[name].eligible if name in latest else None,
            "finished_at": now,
        }
        for name in names
    ]
    await tx.execute(update_one, endings)
    events = [
        TrialStoppedEarly(
            **_heading(experiment, trial, now), metrics=latest[trial.trial].metrics if trial.trial in latest else {}
        )
        for trial in stopped
    ]
    await append_all(tx, TRIAL_EVENTS, experiment, events, now, found.traceparent)


async def reopen(tx: AsyncSession, experiment: str, names: Sequence[str]) -> None:
    """Have trials that failed run again: nothing of their end stays. The caller has the experiment locked."""
    of_them = (trials.c.experiment == experiment) & trials.c.trial.in_(names) & (trials.c.status == TrialStatus.FAILED)
    anew = {"status": TrialStatus.CREATED, "reasons": (), "seconds": None, "started_at": None, "finished_at": None}
    await tx.execute(update(trials).where(of_them).values(anew))


async def steps(tx: AsyncSession, experiment: str) -> dict[str, dict[int, Reported]]:
    """Every score that was written of the experiment's trials: by trial and step."""
    columns = [trial_steps.c[name] for name in Reported.__dataclass_fields__]
    rows = await tx.execute(select(*columns).where(trial_steps.c.experiment == experiment).order_by(*columns[:2]))
    found: dict[str, dict[int, Reported]] = {}
    for row in rows:
        found.setdefault(row.trial, {})[row.step] = Reported(**row._mapping)
    return found


async def steps_of(tx: AsyncSession, experiment: str, trial: str) -> list[Reported]:
    """Every score that was written of one trial, in order."""
    columns = [trial_steps.c[name] for name in Reported.__dataclass_fields__]
    of_it = (trial_steps.c.experiment == experiment) & (trial_steps.c.trial == trial)
    return [Reported(**row._mapping) for row in await tx.execute(select(*columns).where(of_it).order_by(columns[1]))]


async def named(tx: AsyncSession, experiment: str, trial: str) -> Trial | None:
    """The experiment's trial of this name."""
    this = (trials.c.experiment == experiment) & (trials.c.trial == trial)
    row = (await tx.execute(select(trials).where(this))).one_or_none()
    return None if row is None else Trial(**row._mapping)


async def of_experiment(tx: AsyncSession, experiment: str) -> list[Trial]:
    """The experiment's trials by name, without their histories."""
    rows = await tx.execute(select(trials).where(trials.c.experiment == experiment).order_by(trials.c.trial))
    return [Trial(**row._mapping) for row in rows]


async def tally(tx: AsyncSession, experiment: str) -> dict[TrialStatus, int]:
    """How many of the experiment's trials are where; every status is there."""
    counts = select(trials.c.status, func.count()).where(trials.c.experiment == experiment).group_by(trials.c.status)
    return dict.fromkeys(TrialStatus, 0) | dict((await tx.execute(counts)).all())


async def keep_histories(tx: AsyncSession, experiment: str, histories: Mapping[str, History]) -> None:
    """Write histories by trial, but for trials that have one: a trial that is trained in full has it from then on."""
    rows = [{"experiment": experiment, "trial": trial, **vars(each)} for trial, each in histories.items()]
    await insert_new(tx, trial_histories, rows)


async def histories(tx: AsyncSession, experiment: str, names: Sequence[str]) -> dict[str, History]:
    """The histories of those among the trials of these `names` that were trained in full."""
    columns = (trial_histories.c.trial, trial_histories.c.prediction, trial_histories.c.profit)
    of_them = (trial_histories.c.experiment == experiment) & trial_histories.c.trial.in_(names)
    return {row.trial: History(row.prediction, row.profit) for row in await tx.execute(select(*columns).where(of_them))}


async def _note_steps(tx: AsyncSession, experiment: str, scored: Sequence[Reported]) -> None:
    if scored:
        await tx.execute(insert(trial_steps), [{"experiment": experiment, **vars(each)} for each in scored])


def _last_step(outcome: Completed | Cached) -> Reported:
    recorded_by = outcome.recorded_by if isinstance(outcome, Cached) else None
    return Reported(
        outcome.trial,
        outcome.step,
        outcome.budget,
        outcome.metrics,
        outcome.eligible,
        outcome.reasons,
        recorded_by,
    )


async def _share_histories(tx: AsyncSession, experiment: str, cached: Sequence[Cached]) -> None:
    """Copy histories inside the database, but for trials that have one."""
    if not cached:
        return
    trial, source = bindparam("of_trial", type_=String), trial_histories.alias()
    own = (trial_histories.c.experiment == experiment) & (trial_histories.c.trial == trial)
    shared = (
        select(literal(experiment), trial, source.c.prediction, source.c.profit)
        .where(source.c.experiment == bindparam("of_experiment"), source.c.trial == bindparam("from_trial"))
        .where(~select(trial_histories.c.trial).where(own).exists())
    )
    copy = insert(trial_histories).from_select(["experiment", "trial", "prediction", "profit"], shared)
    await tx.execute(
        copy,
        [
            {"of_trial": each.trial, "of_experiment": each.recorded_by, "from_trial": each.recorded_trial}
            for each in cached
        ],
    )


async def _open(tx: AsyncSession, experiment: str, names: Sequence[str]) -> list[PlannedTrial]:
    """The open trials of these `names`, in that order."""
    columns = [trials.c[name] for name in PlannedTrial.__dataclass_fields__]
    of_them = (trials.c.experiment == experiment) & trials.c.trial.in_(names) & trials.c.status.in_(_OPEN)
    found = {row.trial: PlannedTrial(**row._mapping) for row in await tx.execute(select(*columns).where(of_them))}
    # Taken out one by one, so that a trial that ends twice in one batch is found as well.
    taken = [(name, found.pop(name, None)) for name in names]
    if shut := tuple(name for name, trial in taken if trial is None):
        raise TrialsNotOpen(experiment, shut)
    return [trial for _, trial in taken if trial is not None]


def _ending(experiment: str, outcome: Ended, now: datetime) -> dict[str, Any]:
    ending = {
        "in_experiment": experiment,
        "of_trial": outcome.trial,
        "reasons": outcome.reasons,
        "seconds": 0.0 if isinstance(outcome, Cached) else outcome.seconds,
        "finished_at": now,
    }
    if isinstance(outcome, Failed):
        return ending | {"status": TrialStatus.FAILED, "metrics": None, "eligible": None}
    return ending | {"status": TrialStatus.COMPLETED, "metrics": outcome.metrics, "eligible": outcome.eligible}


def _ended(
    experiment: str, trial: PlannedTrial, outcome: Ended, now: datetime
) -> TrialCompleted | TrialCached | TrialFailed:
    heading = _heading(experiment, trial, now)
    if isinstance(outcome, Failed):
        return TrialFailed(**heading, reasons=outcome.reasons)
    if isinstance(outcome, Cached):
        return TrialCached(
            **heading,
            metrics=outcome.metrics,
            eligible=outcome.eligible,
            reasons=outcome.reasons,
            recorded_by=outcome.recorded_by,
            recorded_trial=outcome.recorded_trial,
        )
    return TrialCompleted(
        **heading,
        metrics=outcome.metrics,
        eligible=outcome.eligible,
        reasons=outcome.reasons,
        seconds=outcome.seconds,
    )


def _heading(experiment: str, trial: PlannedTrial, now: datetime) -> dict[str, Any]:
    """What every trial event begins with."""
    return {
        "experiment": experiment,
        "sequence": 0,
        "trial": trial.trial,
        "tickers": trial.tickers,
        "configuration": trial.configuration,
        "fingerprint": trial.fingerprint,
        "data_hash": trial.data_hash,
        "emitted_at": now,
    }
