"""Experiments and trials as they are looked at: a page at a time, sorted and filtered by the database.

No query here reads more rows than it returns into this process, whatever there is of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, ColumnElement, Float, Select, String, cast, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import State
from orchestrator.store.experiments import Experiment
from orchestrator.store.tables import RequestOutcome, TrialStatus, experiments, requests, trial_steps, trials
from orchestrator.store.trials import Trial
from schemas.base import JsonObject, Reason

ExperimentOrder = Literal["created_at", "name", "state", "strategy", "algorithm", "trials", "finished", "best"]
_AT_ONCE = 500
"""Names of one query: databases limit the parameters of a statement; and rows that are read at once."""
_SCORED = (TrialStatus.COMPLETED, TrialStatus.STOPPED_EARLY)


@dataclass(frozen=True)
class Page:
    """Which rows of an order: `limit` of them (None: all) from `offset` on."""

    order: str
    descending: bool = False
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class ExperimentsWanted:
    """Which experiments; what is None or empty leaves none out."""

    states: Collection[State] = ()
    strategy: str | None = None
    algorithm: str | None = None
    ticker: str | None = None
    text: str | None = None
    """In its name."""


@dataclass(frozen=True)
class TrialsWanted:
    """Which trials of an experiment; what is None or empty leaves none out."""

    statuses: Collection[TrialStatus] = ()
    ticker: str | None = None
    eligible: bool | None = None
    scored_by: str | None = None
    """With a value of this metric."""


@dataclass(frozen=True)
class Trained:
    """How far a trial was trained: its last step, until which budget in all, and who trained it where it was known."""

    step: int
    budget: int | None
    recorded_by: str | None


@dataclass(frozen=True)
class Better:
    """A trial that was better than all that had ended before it."""

    finished_at: datetime
    trial: str
    metric: float


@dataclass(frozen=True)
class Sketch:
    """As much of a trial as a picture of all of them takes."""

    trial: str
    parent: str | None
    tickers: tuple[str, ...]
    status: TrialStatus
    eligible: bool | None
    configuration: JsonObject
    metric: float | None


@dataclass(frozen=True)
class Asked:
    """What became of a search request."""

    outcome: RequestOutcome
    experiment: str | None
    reasons: tuple[Reason, ...]
    received_at: datetime


async def page_of_experiments(tx: AsyncSession, wanted: ExperimentsWanted, page: Page) -> tuple[int, list[Experiment]]:
    """How many experiments are wanted, and a page of them; `page.order` is an `ExperimentOrder`."""
    found = select(experiments).where(*_of_experiments(wanted))
    total = await tx.scalar(select(func.count()).select_from(experiments).where(*_of_experiments(wanted)))
    rows = await tx.execute(_cut(found, _experiment_orders()[page.order], experiments.c.id, page))
    return total or 0, [Experiment(**row._mapping) for row in rows]


async def count_by_state(tx: AsyncSession) -> dict[State, int]:
    """How many experiments are where."""
    rows = await tx.execute(select(experiments.c.state, func.count()).group_by(experiments.c.state))
    return {row[0]: row[1] for row in rows}


async def page_of_trials(
    tx: AsyncSession, experiment: str, wanted: TrialsWanted, page: Page
) -> tuple[int, list[Trial]]:
    """How many of the experiment's trials are wanted, and a page of them.

    `page.order` is a column (`trial`, `status`, `seconds`, `created_at`, `finished_at`), else the name of a metric.
    """
    of_it = (trials.c.experiment == experiment, *_of_trials(wanted))
    total = await tx.scalar(select(func.count()).select_from(trials).where(*of_it))
    columns = {"trial", "status", "seconds", "created_at", "finished_at"}
    by = trials.c[page.order] if page.order in columns else metric(page.order)
    # A few at a time: others have their turn while 10,000 of them are read.
    rows = await tx.stream(
        _cut(select(trials).where(*of_it), by, trials.c.trial, page).execution_options(yield_per=_AT_ONCE)
    )
    return total or 0, [Trial(**row._mapping) async for row in rows]


async def trained(tx: AsyncSession, experiment: str, names: Sequence[str] | None = None) -> dict[str, Trained]:
    """How far trials were trained that have a score, by name; None: all of the experiment."""
    columns = (trial_steps.c.trial, trial_steps.c.step, trial_steps.c.budget, trial_steps.c.recorded_by)
    steps = select(*columns).where(trial_steps.c.experiment == experiment).order_by(*columns[:2])
    parts = [None] if names is None else [names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)]
    found: dict[str, Trained] = {}
    for part in parts:
        rows = await tx.execute(steps if part is None else steps.where(trial_steps.c.trial.in_(part)))
        found |= {row.trial: Trained(row.step, row.budget, row.recorded_by) for row in rows}
    return found


async def best_so_far(tx: AsyncSession, experiment: str, by: str, mode: str) -> list[Better]:
    """The eligible trials that were better than all before them, in the order in which they ended."""
    value = metric(by)
    before = (func.max if mode == "max" else func.min)(value).over(
        order_by=(trials.c.finished_at, trials.c.trial), rows=(None, -1)
    )
    scored = trials.c.status.in_(_SCORED) & trials.c.eligible & value.is_not(None)
    ranked = (
        select(trials.c.finished_at, trials.c.trial, value.label("metric"), before.label("before"))
        .where(trials.c.experiment == experiment, scored)
        .subquery()
    )
    better = ranked.c.metric > ranked.c.before if mode == "max" else ranked.c.metric < ranked.c.before
    found = select(ranked.c.finished_at, ranked.c.trial, ranked.c.metric).where(ranked.c.before.is_(None) | better)
    rows = await tx.execute(found.order_by(ranked.c.finished_at, ranked.c.trial))
    return [Better(row.finished_at, row.trial, row.metric) for row in rows]


async def sketches(tx: AsyncSession, experiment: str, by: str, limit: int) -> list[Sketch]:
    """The experiment's trials by name, at most `limit`, each with its value of the metric `by`."""
    columns = [trials.c[name] for name in Sketch.__dataclass_fields__ if name != "metric"]
    found = select(*columns, metric(by).label("metric")).where(trials.c.experiment == experiment)
    rows = await tx.execute(found.order_by(trials.c.trial).limit(limit))
    return [Sketch(**row._mapping) for row in rows]


async def asked(tx: AsyncSession, request_id: str) -> Asked | None:
    """What became of the request of this id; None: it has not come in yet."""
    columns = [requests.c[name] for name in Asked.__dataclass_fields__]
    row = (await tx.execute(select(*columns).where(requests.c.request_id == request_id))).one_or_none()
    return None if row is None else Asked(**row._mapping)


def metric(name: str) -> ColumnElement[float]:
    """A trial's value of a metric; null where it has none."""
    value: ColumnElement[float] = trials.c.metrics[name].as_float()
    return value


def _of_experiments(wanted: ExperimentsWanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.states:
        found.append(experiments.c.state.in_(wanted.states))
    if wanted.strategy is not None:
        found.append(_asked_for("strategy") == wanted.strategy)
    if wanted.algorithm is not None:
        found.append(_asked_for("algorithm") == wanted.algorithm)
    if wanted.ticker is not None:
        found.append(_lists(_asked_for("tickers"), wanted.ticker))
    if wanted.text:
        found.append(experiments.c.id.icontains(wanted.text, autoescape=True))
    return found


def _of_trials(wanted: TrialsWanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.statuses:
        found.append(trials.c.status.in_(wanted.statuses))
    if wanted.ticker is not None:
        found.append(_lists(cast(trials.c.tickers, String), wanted.ticker))
    if wanted.eligible is not None:
        found.append(trials.c.eligible.is_(wanted.eligible))
    if wanted.scored_by is not None:
        found.append(metric(wanted.scored_by).is_not(None))
    return found


def _asked_for(field: str) -> ColumnElement[str]:
    """A field of an experiment's request, as text."""
    value: ColumnElement[str] = type_coerce(experiments.c.request, JSON)[field].as_string()
    return value


def _lists(array: ColumnElement[Any], member: str) -> ColumnElement[bool]:
    """Whether the text of a JSON array of plain names has one of them: both databases write it in quotes."""
    return array.contains(f'"{member}"', autoescape=True)


def _told(field: str) -> ColumnElement[float]:
    """What an experiment has said last of a figure: at its end, else as it went on."""
    columns = (experiments.c.summary, experiments.c.progress)
    return func.coalesce(*(each[field].as_float() for each in columns), type_=Float)


def _experiment_orders() -> dict[str, ColumnElement[Any]]:
    return {
        "created_at": experiments.c.created_at,
        "name": experiments.c.id,
        "state": experiments.c.state,
        "strategy": _asked_for("strategy"),
        "algorithm": _asked_for("algorithm"),
        "trials": experiments.c.trials,
        "finished": _told("finished"),
        "best": _told("best"),
    }


def _cut(found: Select[Any], by: ColumnElement[Any], unique: ColumnElement[Any], page: Page) -> Select[Any]:
    """A page of a query: what has no value comes last, and equal rows have an order, so that pages never overlap."""
    ordered = found.order_by((by.desc() if page.descending else by.asc()).nulls_last(), unique)
    return ordered.limit(page.limit).offset(page.offset) if page.limit is not None else ordered.offset(page.offset)
