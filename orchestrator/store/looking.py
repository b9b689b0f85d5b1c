"""What pages show besides lists: events of a key, lineages, how fast searches were."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import JSON, null, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.tables import experiments, outbox, sequences, trial_steps, trials
from schemas.base import JsonObject
from schemas.topics import Topic

RECENT_SEARCHES = 50
QUARTER = 4


@dataclass(frozen=True)
class Descendant:
    """A trial's score in a generation, and the trial that it was cloned from."""

    trial: str
    parent: str | None
    generation: int
    """From 1."""
    tickers: tuple[str, ...]
    metric: float | None


@dataclass(frozen=True)
class Speed:
    """What searches came to: trials that were trained, and the seconds that they took in all."""

    searches: int
    trials: int
    seconds: float

    @property
    def per_second(self) -> float | None:
        """Trials a second; None: none was measured."""
        return self.trials / self.seconds if self.trials and self.seconds else None


async def told(tx: AsyncSession, topic: Topic, key: str, limit: int) -> list[tuple[datetime, bytes]]:
    """The newest events of a key that are kept, newest first: when each was told, and its value."""
    series = (sequences.c.scope == topic.name) & (sequences.c.key == key)
    last = await tx.scalar(select(sequences.c.last).where(series)) or 0
    ids = [f"{topic.name}:{key}:{number}" for number in range(max(1, last - limit + 1), last + 1)]
    found = select(outbox.c.created_at, outbox.c.value).where(outbox.c.message_id.in_(ids)).order_by(outbox.c.id.desc())
    return [(row.created_at, row.value) for row in await tx.execute(found)]


async def lineage(tx: AsyncSession, experiment: str, metric: str, limit: int) -> list[Descendant]:
    """Each generation's scores of the experiment's populations, oldest generation first, at most `limit` of them."""
    of_it = trials.c.experiment == experiment
    family = await tx.execute(select(trials.c.trial, trials.c.parent, trials.c.tickers).where(of_it))
    members = [(row.trial, row.parent, row.tickers) for row in family]
    born = births(members)
    value = trial_steps.c.metrics[metric].as_float().label("metric")
    scores = select(trial_steps.c.trial, trial_steps.c.step, value).where(trial_steps.c.experiment == experiment)
    steps = [*await tx.execute(scores.order_by(trial_steps.c.step, trial_steps.c.trial).limit(limit))]
    known = {trial: (parent, tickers) for trial, parent, tickers in members}
    found = [
        Descendant(row.trial, known[row.trial][0], born[row.trial] + row.step - 1, known[row.trial][1], row.metric)
        for row in steps
    ]
    return sorted(found, key=lambda each: (each.generation, each.trial))


def births(members: Sequence[tuple[str, str | None, tuple[str, ...]]]) -> dict[str, int]:
    """By trial, the generation that it was born in, from 1.

    A population bears as many clones in each generation as a quarter of its founders, and at least one; names follow
    one another as the trials were born.

    Args:
        members: trial, parent and tickers; those of one population have the same tickers.
    """
    born = {trial: 1 for trial, parent, _ in members if parent is None}
    for population in {tickers for _, _, tickers in members}:
        mine = sorted((trial, parent) for trial, parent, tickers in members if tickers == population)
        clones = [trial for trial, parent in mine if parent is not None]
        each_time = max((len(mine) - len(clones)) // QUARTER, 1)
        born |= {trial: 2 + number // each_time for number, trial in enumerate(clones)}
    return born


async def speed(tx: AsyncSession, algorithm: str, strategy: str) -> Speed:
    """How fast the newest searches of an algorithm were that trained all of their trials; those of one strategy, if
    there are any."""
    asked = type_coerce(experiments.c.request, JSON)
    columns = (asked["strategy"].as_string().label("strategy"), experiments.c.summary)
    ended = (asked["algorithm"].as_string() == algorithm) & experiments.c.summary.is_not(null())
    newest = select(*columns).where(ended).order_by(experiments.c.created_at.desc()).limit(RECENT_SEARCHES)
    rows = [row for row in await tx.execute(newest) if not row.summary.get("cached")]
    same = [row for row in rows if row.strategy == strategy]
    return _speed([row.summary for row in same or rows])


def _speed(summaries: Sequence[JsonObject]) -> Speed:
    return Speed(
        searches=len(summaries),
        trials=sum(each["finished"] + each["failed"] for each in summaries),
        seconds=sum(each["seconds"] for each in summaries),
    )
