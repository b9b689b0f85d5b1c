"""Fingerprints: which training has been done, and where its result is.

A row points at a step of a trial, with whose records it shares everything but itself: clearing fingerprints makes
nothing undone. It has configurations trained again that would have been answered, and neither the ledger nor any trial
loses a thing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Select, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.tables import fingerprints, trial_histories, trial_steps
from schemas.base import Reason

_AT_ONCE = 1_000
"""Fingerprints of one query: databases limit the parameters of a statement."""
_OF_STEP = ("experiment", "trial", "step", "metrics", "eligible", "reasons")


@dataclass(frozen=True)
class Fingerprint:
    """Where the result of a piece of training is: with this step of a trial.

    `whole`: the trial's history is of this step, so that it can be another trial's final score.
    """

    fingerprint: str
    experiment: str
    trial: str
    step: int
    whole: bool


@dataclass(frozen=True)
class Result:
    """What a piece of training came to, and whose step that was; `whole` as of a `Fingerprint`."""

    experiment: str
    trial: str
    step: int
    whole: bool
    metrics: Mapping[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Stats:
    """How much is known, of how many experiments and since when; and how many steps were answered by it so far."""

    fingerprints: int
    experiments: int
    oldest: datetime | None
    newest: datetime | None
    saved: int


async def exists(tx: AsyncSession, fingerprint: str) -> bool:
    """Whether the result is known."""
    return await tx.scalar(select(fingerprints.c.step).where(fingerprints.c.fingerprint == fingerprint)) is not None


async def results(tx: AsyncSession, wanted: Collection[str]) -> dict[str, Result]:
    """What is known of the fingerprints that are wanted, by fingerprint."""
    found: dict[str, Result] = {}
    left = iter(wanted)
    while part := list(islice(left, _AT_ONCE)):
        for row in await tx.execute(_results().where(fingerprints.c.fingerprint.in_(part))):
            found[row.fingerprint] = Result(**{name: row._mapping[name] for name in Result.__dataclass_fields__})
    return found


async def record(tx: AsyncSession, rows: Iterable[Fingerprint], now: datetime) -> None:
    """Keep where results are. What is known stays, but for one that becomes whole.

    The steps must be written already. Rows are written in one order, so that two writers never wait for each other.
    """
    latest: dict[str, Fingerprint] = {}
    for row in rows:
        if row.fingerprint not in latest or row.whole:
            latest[row.fingerprint] = row
    kept = [latest[name] for name in sorted(latest)]
    new = await insert_new(tx, fingerprints, [{**vars(row), "recorded_at": now} for row in kept])
    for row in kept:
        if row.whole and (row.fingerprint,) not in new:
            partial = (fingerprints.c.fingerprint == row.fingerprint) & ~fingerprints.c.whole
            await tx.execute(update(fingerprints).where(partial).values(**vars(row), recorded_at=now))


async def stats(tx: AsyncSession) -> Stats:
    """How much there is."""
    known = fingerprints.c
    counts = select(
        func.count(known.fingerprint),
        func.count(known.experiment.distinct()),
        func.min(known.recorded_at),
        func.max(known.recorded_at),
        select(func.count(trial_steps.c.recorded_by)).scalar_subquery(),
    )
    return Stats(*(await tx.execute(counts)).one())


async def of_experiment(tx: AsyncSession, experiment: str) -> list[Fingerprint]:
    """What the experiment has trained and is known, in the order of its trials and steps."""
    columns = [fingerprints.c[name] for name in Fingerprint.__dataclass_fields__]
    of_it = select(*columns).where(fingerprints.c.experiment == experiment)
    rows = await tx.execute(of_it.order_by(fingerprints.c.trial, fingerprints.c.step, fingerprints.c.fingerprint))
    return [Fingerprint(**row._mapping) for row in rows]


async def clear(tx: AsyncSession, experiment: str) -> int:
    """Forget what an experiment has trained, and return how many results that were.

    A search under way may go on with what it was told before, and what it trains from now on is known again.
    """
    gone: Any = await tx.execute(delete(fingerprints).where(fingerprints.c.experiment == experiment))
    return int(gone.rowcount)


async def clear_all(tx: AsyncSession) -> int:
    """Forget everything, as `clear`."""
    gone: Any = await tx.execute(delete(fingerprints))
    return int(gone.rowcount)


def _results() -> Select[Any]:
    known, step, history = fingerprints.c, trial_steps.c, trial_histories.c
    of_step = and_(step.experiment == known.experiment, step.trial == known.trial, step.step == known.step)
    of_trial = and_(history.experiment == known.experiment, history.trial == known.trial)
    # Whole only as long as the history is there.
    whole = (known.whole & history.trial.is_not(None)).label("whole")
    return (
        select(known.fingerprint, *step[_OF_STEP], whole)
        .join_from(fingerprints, trial_steps, of_step)
        .outerjoin(trial_histories, of_trial)
    )
