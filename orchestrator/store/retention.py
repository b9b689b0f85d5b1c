"""What could be pruned, and pruning it; `orchestrator.core.retention` says what may go."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.retention import Predicted, Served
from orchestrator.core.versions import VersionState
from orchestrator.store.database import insert_new
from orchestrator.store.tables import artifacts, ensembles, experiments, fingerprints, models, trial_histories
from schemas.base import JsonObject

_AT_ONCE = 500
"""Parameters of one query: databases limit them."""


async def judged(tx: AsyncSession, before: datetime) -> list[str]:
    """Experiments with predictions that the gate has judged, and that have not changed since before that time."""
    has_some = exists().where(trial_histories.c.experiment == experiments.c.id)
    old = experiments.c.verdict.is_not(None) & (experiments.c.updated_at < before)
    return list(await tx.scalars(select(experiments.c.id).where(old & has_some).order_by(experiments.c.id)))


async def predicted(tx: AsyncSession, experiment: str) -> list[Predicted]:
    """The predictions of an experiment's trials, without what was predicted."""
    answers = (fingerprints.c.experiment == experiment) & fingerprints.c.whole
    known = {*await tx.scalars(select(fingerprints.c.trial).where(answers))}
    found = (
        select(trial_histories.c.trial, experiments.c.verdict.is_not(None).label("judged"), experiments.c.updated_at)
        .join_from(trial_histories, experiments, experiments.c.id == trial_histories.c.experiment)
        .where(trial_histories.c.experiment == experiment)
        .order_by(trial_histories.c.trial)
    )
    rows = await tx.execute(found)
    return [Predicted(experiment, row.trial, row.judged, row.updated_at, row.trial in known) for row in rows]


async def forget_predictions(tx: AsyncSession, rows: Iterable[Predicted]) -> None:
    """Delete predictions; everything else of their trials stays."""
    for each in rows:
        this = (trial_histories.c.experiment == each.experiment) & (trial_histories.c.trial == each.trial)
        await tx.execute(delete(trial_histories).where(this))


async def versions(tx: AsyncSession) -> list[Served]:
    """Every version of every ensemble."""
    columns = ensembles.c["ensemble", "version", "state", "deployed_at", "ended_at"]
    alive = (VersionState.WANTED, VersionState.DEPLOYED, VersionState.SHADOWING)
    return [
        Served(
            ensemble=row.ensemble,
            version=row.version,
            wanted=row.state in alive,
            served=row.state is VersionState.SUPERSEDED and row.deployed_at is not None,
            ended_at=row.ended_at,
        )
        for row in await tx.execute(select(*columns))
    ]


async def manifests(tx: AsyncSession, kept: Collection[tuple[str, int]]) -> list[JsonObject]:
    """The manifests of these versions, by ensemble and number, each with its own digest beside it."""
    found: list[JsonObject] = []
    names = sorted(kept)
    for first in range(0, len(names), _AT_ONCE):
        these = tuple_(ensembles.c.ensemble, ensembles.c.version).in_(names[first : first + _AT_ONCE])
        columns = ensembles.c["manifest", "digest"]
        rows = await tx.execute(select(*columns).where(these).order_by(ensembles.c.ensemble, ensembles.c.version))
        found += [row.manifest | {"digest": row.digest} for row in rows]
    return found


async def note_artifacts(tx: AsyncSession, digests: Collection[str], now: datetime) -> None:
    """An ensemble has been assembled of these, so that they are ours to prune when nothing refers to them any more."""
    names = sorted(digests)
    new = await insert_new(tx, artifacts, [{"digest": each, "noted_at": now} for each in names])
    again = [each for each in names if (each,) not in new]
    for first in range(0, len(again), _AT_ONCE):
        these = artifacts.c.digest.in_(again[first : first + _AT_ONCE])
        await tx.execute(update(artifacts).where(these).values(noted_at=now))


async def noted_artifacts(tx: AsyncSession, before: datetime) -> dict[str, datetime]:
    """Those that were noted last before that time, and when; without files that are registered."""
    registered = artifacts.c.digest.in_(select(models.c.digest))
    old = select(artifacts.c.digest, artifacts.c.noted_at).where((artifacts.c.noted_at < before) & ~registered)
    return {row.digest: row.noted_at for row in await tx.execute(old)}


async def forget_artifacts(tx: AsyncSession, digests: Sequence[str]) -> None:
    """They have been deleted."""
    gone: Any = delete(artifacts).where(artifacts.c.digest.in_(digests))
    await tx.execute(gone)
