"""Ensembles that commands ask for of searches that are over; each wish stays until it is settled."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.wishing import refusal
from orchestrator.store import experiments, models, tables
from orchestrator.store.experiments import Experiment
from orchestrator.store.outbox import append
from orchestrator.store.tables import wishes
from schemas.base import Reason
from schemas.experiments import ExperimentRejected
from schemas.search import Deploy
from schemas.topics import EXPERIMENT_EVENTS

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class OpenWish:
    """What one command asks for."""

    command_id: str
    deploy: Deploy
    """With an `ensemble_name`."""


async def wish(tx: AsyncSession, command_id: str, name: str, ensemble: str, deploy: Deploy, now: datetime) -> Reasons:
    """Have an ensemble made of what the experiment that goes by `name` has found.

    Returns:
        Why that cannot be; nothing was written then.
    """
    found = await experiments.by_name(tx, name)
    if found is None:
        return (Reason(code="unknown_experiment", where="/experiment", message=f"there is no experiment {name}"),)
    found = await experiments.take(tx, found.id)
    if reason := refusal(found.id, found.state, judged=found.verdict is not None):
        return (reason,)
    row = {"command_id": command_id, "experiment": found.id, "ensemble": ensemble, "deploy": deploy, "wished_at": now}
    await tx.execute(insert(wishes), [row])
    return ()


async def of_experiment(tx: AsyncSession, experiment: str) -> list[OpenWish]:
    """What is wished for of an experiment, oldest first."""
    columns = wishes.c["command_id", "deploy"]
    found = select(*columns).where(wishes.c.experiment == experiment).order_by(wishes.c.wished_at, wishes.c.command_id)
    return [OpenWish(row.command_id, row.deploy) for row in await tx.execute(found)]


async def wished_of(tx: AsyncSession) -> list[Experiment]:
    """The experiments that something is wished for of, in the order of their turn."""
    turn = (tables.experiments.c.priority.desc(), tables.experiments.c.created_at, tables.experiments.c.id)
    some = tables.experiments.c.id.in_(select(wishes.c.experiment))
    return [
        Experiment(**row._mapping) for row in await tx.execute(select(tables.experiments).where(some).order_by(*turn))
    ]


async def settle(tx: AsyncSession, command_ids: Collection[str]) -> frozenset[str]:
    """These wishes are settled; those that were still open, and no others, are the caller's to fulfil."""
    rows = await tx.scalars(delete(wishes).where(wishes.c.command_id.in_(command_ids)).returning(wishes.c.command_id))
    return frozenset(rows)


async def refuse(tx: AsyncSession, experiment: str, reasons: Reasons, now: datetime) -> None:
    """Nothing that is wished for of an experiment can be made; each command is told so."""
    await _reject(tx, wishes.c.experiment == experiment, reasons, now)


async def withdraw(tx: AsyncSession, ensemble: str, reason: Reason, now: datetime) -> None:
    """Nothing is made any more of what is wished for under this ensemble's name; each command is told so."""
    await _reject(tx, wishes.c.ensemble == ensemble, (reason,), now)
    await models.refuse(tx, tables.model_wishes.c.ensemble == ensemble, (reason,), now)


async def _reject(tx: AsyncSession, which: ColumnElement[bool], reasons: Reasons, now: datetime) -> None:
    """Settle wishes with a `rejected` event under the id of each one's command."""
    rows = await tx.scalars(delete(wishes).where(which).returning(wishes.c.command_id))
    for command_id in sorted(rows):
        event = ExperimentRejected(experiment=None, request_id=command_id, sequence=0, emitted_at=now, reasons=reasons)
        await append(tx, EXPERIMENT_EVENTS, command_id, event, now)
