"""Experiments on a real Ray: launched all at once, and what is in the database when all of them have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.core.canonical import lineage_key
from orchestrator.core.dataset import Terms
from orchestrator.core.lifecycle import State
from orchestrator.search.launching import Launcher
from orchestrator.store import ensembles, experiments, leases, ledger, requests, trials
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from orchestrator.store.leases import Lease
from orchestrator.store.ledger import LedgerRow
from orchestrator.store.trials import History, Trial
from schemas.search import SearchRequest
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from tests.contracts.store.makers import digest, events
from tests.unit.search.studies import driver_settings

PATIENCE = 120.0
DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED)


@dataclass(frozen=True)
class Ended:
    """What an experiment has left behind."""

    experiment: Experiment
    trials: list[Trial]
    histories: dict[str, History]
    trial_events: list[Any]
    experiment_events: list[Any]
    versions: list[Version]
    ledger: list[LedgerRow]

    @property
    def said(self) -> list[str]:
        """The kinds of its events, progress left out: how often that is told depends on the machine."""
        return [event.event for event in self.experiment_events if event.event != "progress"]

    def trial_events_of(self, trial: str) -> list[str]:
        """The kinds of a trial's events."""
        return [event.event for event in self.trial_events if event.trial == trial]


async def admitted(db: Database, request: SearchRequest, number: int) -> str:
    """Admit a request as the intake does, and have it wait for its driver."""
    now = datetime.now(UTC)
    async with db.transaction() as tx:
        admission = await requests.admit(
            tx, request, raw=request.model_dump_json().encode(), trials=1, search_key=digest(number), now=now
        )
        assert isinstance(admission, requests.Accepted)
        await experiments.advance(tx, admission.experiment, State.WAITING, None, now)
    return admission.experiment


async def ended(db: Database, experiment: str) -> Ended:
    """Wait until nothing drives the experiment on, and read what it has left."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with db.snapshot() as tx:
                found = await experiments.get(tx, experiment)
            if found.state not in DRIVEN and (found.state is not State.SELECTED or found.verdict is not None):
                break
            await asyncio.sleep(0.1)
    lineages = [
        lineage_key(ticker, timeframe=found.request.timeframe, terms=Terms()) for ticker in found.request.tickers
    ]
    async with db.snapshot() as tx:
        known = await trials.of_experiment(tx, experiment)
        return Ended(
            experiment=found,
            trials=known,
            histories=await trials.histories(tx, experiment, [trial.trial for trial in known]),
            trial_events=await events(db, "trial-events", experiment),
            experiment_events=await events(db, "experiment-events", experiment),
            versions=[version for version in await ensembles.wanted(tx) if version.experiment == experiment],
            ledger=[row for row in await ledger.of_lineages(tx, lineages) if row.experiment == experiment],
        )


async def lead(
    directory: Path,
    asked: Mapping[str, SearchRequest],
    *,
    begun: Callable[[Database], Awaitable[None]] | None = None,
    **settings: Any,
) -> dict[str, Ended]:
    """Launch every request at once, each under its name, and wait for all of them.

    `begun` does what another driver has done before.
    """
    told = driver_settings(directory, **settings)
    launcher = Launcher(told, EnsembleAssembler(Artifacts(directory / "artifacts")))
    db = Database.open(told.database_url)
    await db.upgrade()
    try:
        named = {name: request.model_copy(update={"name": name}) for name, request in asked.items()}
        for number, request in enumerate(named.values()):
            await admitted(db, request, number)
        if begun is not None:
            await begun(db)
        given = {name: await _lease(db, name) for name in named}
        for name, lease in given.items():
            await launcher.launch(name, lease)
        found = {name: await ended(db, name) for name in named}
        for lease in given.values():
            await _left(launcher, lease)
    finally:
        await db.close()
    return found


async def _lease(db: Database, experiment: str) -> Lease:
    async with db.transaction() as tx:
        lease = await leases.acquire(tx, leases.driver_of(experiment), "test", timedelta(minutes=1))
    assert lease is not None
    return lease


async def _left(launcher: Launcher, lease: Lease) -> None:
    """Wait until the driver of this lease is gone."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if not await launcher.alive(lease):
                return
            await asyncio.sleep(0.1)
