"""A driver that stands still for longer than its lease: another one leads the experiment on, and it writes nothing."""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import ray

from orchestrator.core.lifecycle import State
from orchestrator.search.launching import Launcher
from orchestrator.store import leases, trials
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease
from orchestrator.store.tables import TrialStatus
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from streams.child import Facts, alive
from tests.contracts.store.makers import everything
from tests.integration.searching import PATIENCE, admitted, ended
from tests.ray_cluster import connected
from tests.unit.search.studies import driver_settings, search_request, write_market

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def connection(ray_head: Facts) -> Iterator[None]:
    with connected(ray_head):
        yield


async def acquired(db: Database, experiment: str, holder: str) -> Lease:
    """The right to drive it, as soon as it is to be had."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with db.transaction() as tx:
                lease = await leases.acquire(tx, leases.driver_of(experiment), holder, timedelta(seconds=PATIENCE))
            if lease is not None:
                return lease
            await asyncio.sleep(0.05)


def process(launcher: Launcher, lease: Lease) -> psutil.Process:
    """Of the driver of this lease."""
    driver = launcher._find(lease)
    return psutil.Process(ray.get(driver.__ray_call__.remote(lambda actor: os.getpid())))


async def is_gone(driver: psutil.Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if not alive(driver):
                return
            await asyncio.sleep(0.05)


async def more_trials_end(db: Database, experiment: str) -> None:
    """Wait until one more trial has ended than have now."""
    least = None
    async with asyncio.timeout(PATIENCE):
        while True:
            async with db.snapshot() as tx:
                count = (await trials.tally(tx, experiment))[TrialStatus.COMPLETED]
            least = count + 1 if least is None else least
            if count >= least:
                return
            await asyncio.sleep(0.02)


async def test_a_driver_past_its_lease_writes_nothing_and_another_leads_on(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA")
    settings = driver_settings(tmp_path, lease_seconds=1.0)
    launcher = Launcher(settings, EnsembleAssembler(Artifacts(tmp_path / "artifacts")))
    db = Database.open(settings.database_url)
    await db.upgrade()
    grid = {"learning_rate": tuple(0.01 * n for n in range(1, 21))}
    request = search_request(algorithm="lightgbm_regressor", param_grid=grid, name="stopped")
    experiment = await admitted(db, request, 1)

    first = await acquired(db, experiment, "first")
    await launcher.launch(experiment, first)
    await more_trials_end(db, experiment)
    zombie = await asyncio.to_thread(process, launcher, first)
    zombie.suspend()
    second = await acquired(db, experiment, "second")
    before = await everything(db)
    zombie.resume()
    await is_gone(zombie)
    assert await everything(db) == before

    await launcher.launch(experiment, second)
    await more_trials_end(db, experiment)
    # What stands in the way can be ended while it stands.
    another = await asyncio.to_thread(process, launcher, second)
    another.suspend()
    await launcher.end(second)
    await is_gone(another)

    third = await acquired(db, experiment, "third")
    assert (first.epoch, second.epoch, third.epoch) == (1, 2, 3)
    await launcher.launch(experiment, third)
    found = await ended(db, experiment)
    assert found.experiment.state is State.SELECTED
    assert [event.sequence for event in found.trial_events] == [*range(1, len(found.trial_events) + 1)]
    completed = [event.trial for event in found.trial_events if event.event == "completed"]
    assert sorted(completed) == sorted(trial.trial for trial in found.trials)
    assert len(completed) == len(grid["learning_rate"])
    await db.close()
