"""Lineages: all that has led to a version of an ensemble, from its members back to who asked, and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store import ensembles, experiments, listing
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from orchestrator.store.retraining import Trigger
from orchestrator.store.tables import RequestOutcome, commands, holdout_looks, requests, triggers
from orchestrator.store.tables import trials as trial_rows
from orchestrator.store.trials import Trial
from schemas.base import JsonObject
from schemas.envelope import decode
from schemas.search import SearchRequest

_AT_ONCE = 500
"""Names of one query: databases limit the parameters of a statement."""


@dataclass(frozen=True)
class Asking:
    """A request that an experiment was asked by: the one that founded it, or one that attached to it."""

    request: SearchRequest
    outcome: RequestOutcome
    received_at: datetime


@dataclass(frozen=True)
class Given:
    """The command that had a version served last."""

    command_id: str
    document: JsonObject
    """As it came."""
    received_at: datetime


@dataclass(frozen=True)
class Look:
    """A look at a hold-out; its span is from the first bar to the last."""

    lineage: str
    span_start: datetime
    span_end: datetime
    number: int
    """Of the looks at overlapping spans in the lineage, from 1."""
    looked_at: datetime


@dataclass(frozen=True)
class Lineage:
    """What has led to a version."""

    version: Version
    experiment: Experiment | None
    """None: its members are registered models."""
    requests: tuple[Asking, ...]
    """Of the experiment, oldest first."""
    trigger: Trigger | None
    """The rule that made one of the requests; None: somebody asked."""
    command: Given | None
    """None: no command did, or it came before commands were kept."""
    looks: tuple[Look, ...]
    """Of the experiment."""
    trials: Mapping[str, Trial]
    """The members' trials, by name."""
    trained_by: Mapping[str, str]
    """By trial, the experiment that trained it, where that was another one."""
    champions: tuple[Version, ...]
    """Those that served before it, back to the first: the one that served last comes first."""


async def of(tx: AsyncSession, ensemble: str, version: int) -> Lineage | None:
    """What has led to a version; None: there is none of that number."""
    known = await ensembles.versions(tx, ensemble)
    found = next((each for each in known if each.version == version), None)
    if found is None:
        return None
    experiment = None if found.experiment is None else await experiments.get(tx, found.experiment)
    asked = () if experiment is None else await _asked(tx, experiment.id)
    names = [str(each["trial"]) for each in found.manifest["members"]]
    trained = {} if experiment is None else await listing.trained(tx, experiment.id, names)
    return Lineage(
        version=found,
        experiment=experiment,
        requests=asked,
        trigger=None if experiment is None else await _trigger(tx, experiment.id),
        command=await _command(tx, found.command_id),
        looks=() if experiment is None else await _looks(tx, experiment.id),
        trials={} if experiment is None else await _trials(tx, experiment.id, names),
        trained_by={name: each.recorded_by for name, each in trained.items() if each.recorded_by is not None},
        champions=before(found, known),
    )


def before(version: Version, known: Sequence[Version]) -> tuple[Version, ...]:
    """The versions that served before one, the one that served last first.

    One that has never served comes after those that have served until it was given up.
    """
    until = version.deployed_at or version.ended_at
    served = [
        (each.deployed_at, each.version, each)
        for each in known
        if each.version != version.version
        and each.deployed_at is not None
        and (until is None or (each.deployed_at, each.version) < (until, version.version))
    ]
    return tuple(each for *_, each in sorted(served, key=lambda row: row[:2], reverse=True))


async def _asked(tx: AsyncSession, experiment: str) -> tuple[Asking, ...]:
    columns = requests.c["raw", "outcome", "received_at"]
    of_it = select(*columns).where(requests.c.experiment == experiment)
    rows = await tx.execute(of_it.order_by(requests.c.received_at, requests.c.request_id))
    return tuple(Asking(decode(SearchRequest, row.raw), row.outcome, row.received_at) for row in rows)


async def _trigger(tx: AsyncSession, experiment: str) -> Trigger | None:
    of_it = select(triggers).join(requests, requests.c.request_id == triggers.c.request_id)
    rows = await tx.execute(of_it.where(requests.c.experiment == experiment).order_by(triggers.c.fired_at))
    row = rows.first()
    return None if row is None else Trigger(**row._mapping)


async def _command(tx: AsyncSession, command_id: str | None) -> Given | None:
    columns = commands.c["command_id", "raw", "received_at"]
    row = (await tx.execute(select(*columns).where(commands.c.command_id == command_id))).one_or_none()
    return None if row is None else Given(row.command_id, json.loads(row.raw), row.received_at)


async def _looks(tx: AsyncSession, experiment: str) -> tuple[Look, ...]:
    columns = [holdout_looks.c[name] for name in Look.__dataclass_fields__]
    of_it = select(*columns).where(holdout_looks.c.experiment == experiment)
    rows = await tx.execute(of_it.order_by(holdout_looks.c.looked_at, holdout_looks.c.lineage))
    return tuple(Look(**row._mapping) for row in rows)


async def _trials(tx: AsyncSession, experiment: str, names: Sequence[str]) -> dict[str, Trial]:
    found: dict[str, Trial] = {}
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        of_it = (trial_rows.c.experiment == experiment) & trial_rows.c.trial.in_(some)
        rows = await tx.execute(select(trial_rows).where(of_it))
        found |= {row.trial: Trial(**row._mapping) for row in rows}
    return found
