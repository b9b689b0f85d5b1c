"""Answers from what is known, on a real store: neither a driver nor a worker is at hand."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.core.lifecycle import State
from orchestrator.search import answering
from orchestrator.search.answering import Answers
from orchestrator.store import ensembles, fingerprints, leases
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Lease
from schemas.search import Deploy
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from tests.contracts.store.makers import events
from tests.unit.search.combinations import SIZES
from tests.unit.search.studies import driver_settings, search_request
from tests.unit.search.test_course import SEARCHED, Inline, Line

GRID = {"alpha": (0.05, 0.02), "l1_ratio": (0.1, 0.9)}
"""Half of it is known of the usual one."""


@pytest_asyncio.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    db = Database.open(driver_settings(tmp_path).database_url)
    await db.upgrade()
    yield Line(tmp_path, db)
    await db.close()


async def searched(line: Line, **fields: Any) -> str:
    """An experiment that a driver has led to its end."""
    name = await line.admit(search_request(request_id="first", **fields), 1)
    await line.lead(name)
    return name


async def answered(line: Line, work: int = 2, **fields: Any) -> tuple[str, bool]:
    """Another experiment, and whether it was answered."""
    name = await line.admit(search_request(request_id=f"request-{work}", **fields), work)
    return name, await answer(line, name)


async def answer(line: Line, name: str) -> bool:
    """Whether an experiment was answered; the lease that it was answered under is free afterwards."""
    lease = await lent(line, name)
    assert lease is not None
    assembler = EnsembleAssembler(Artifacts(line.directory / "artifacts"))
    done = await Answers(driver_settings(line.directory, **line.settings), assembler, line.clock).answer(name, lease)
    async with line.db.snapshot() as tx:
        assert await leases.may_have(tx, lease.name)
    return done


async def lent(line: Line, name: str, ttl: timedelta = timedelta(minutes=1)) -> Lease | None:
    async with line.db.transaction() as tx:
        return await leases.acquire(tx, leases.driver_of(name), "worker", ttl)


async def test_the_same_work_is_answered_and_deployed_by_its_own_clause(line: Line) -> None:
    await searched(line, deploy=Deploy(auto=True, ensemble_name="one", top_n=1))
    name, done = await answered(line, deploy=Deploy(auto=True, ensemble_name="two", top_n=2))
    assert done
    assert (await line.found(name)).state is State.DEPLOYING
    assert await line.said(name) == [*SEARCHED, "gate_passed"]
    async with line.db.snapshot() as tx:
        versions = {version.ensemble: version.experiment for version in await ensembles.wanted(tx)}
    assert versions["two"] == name


@pytest.mark.parametrize("strategy", ["pbt", "asha", "bayesian"])
async def test_a_search_that_learns_from_its_scores_is_answered_step_by_step(line: Line, strategy: str) -> None:
    fields: dict[str, Any] = {"strategy": strategy, "param_grid": None, **SIZES[strategy]}
    await searched(line, **fields)
    name, done = await answered(line, **fields)
    # What ASHA promotes depends on what comes out first.
    assert done or strategy == "asha"
    search = Inline()
    assert (await line.lead(name, search)).state is State.SELECTED
    assert len(search.evaluated) == 0 or not done


async def test_what_is_not_all_known_is_left_to_a_driver_that_trains_only_the_rest(line: Line) -> None:
    await searched(line)
    name, done = await answered(line, param_grid=GRID)
    assert not done
    assert (await line.found(name)).state is State.RUNNING
    search = Inline()
    found = await line.lead(name, search)
    assert (found.state, sorted(search.evaluated)) == (State.SELECTED, ["t00003", "t00004"])
    told = [(event.trial, event.event) for event in await events(line.db, "trial-events", name)]
    assert len(told) == len(set(told)) == 4 + 2 + 2 * 2


async def test_what_was_forgotten_is_a_driver_s(line: Line) -> None:
    await searched(line)
    async with line.db.transaction() as tx:
        await fingerprints.clear_all(tx)
    name, done = await answered(line)
    assert not done
    search = Inline()
    await line.lead(name, search)
    assert len(search.evaluated) == 4


async def test_what_is_streamed_is_a_driver_s(line: Line) -> None:
    await searched(line)
    line.settings["stream_above_mb"] = 0
    name, done = await answered(line)
    assert not done
    assert (await line.found(name)).state is State.WAITING


async def test_more_features_than_this_process_should_hold_are_a_driver_s(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    await searched(line)
    monkeypatch.setattr(answering, "LARGEST_MB", 0)
    name, done = await answered(line)
    assert not done
    assert (await line.found(name)).state is State.WAITING


async def test_features_that_are_gone_are_a_driver_s_to_tell_of(line: Line) -> None:
    name, done = await answered(line, tickers=("ZZZ",))
    assert not done
    assert (await line.found(name)).state is State.WAITING
    assert (await line.lead(name)).state is State.FAILED


async def test_an_experiment_that_has_ended_is_left_alone(line: Line) -> None:
    await searched(line)
    name, done = await answered(line)
    before = await events(line.db, "experiment-events", name)
    assert await answer(line, name)
    assert done
    assert await events(line.db, "experiment-events", name) == before


async def test_whose_lease_is_another_s_writes_nothing(line: Line) -> None:
    await searched(line)
    name = await line.admit(search_request(request_id="again"), 2)
    old = await lent(line, name, timedelta(0))
    assert old is not None
    assert await lent(line, name) is not None
    assembler = EnsembleAssembler(Artifacts(line.directory / "artifacts"))
    with pytest.raises(LeaseLost):
        await Answers(driver_settings(line.directory), assembler, line.clock).answer(name, old)
    assert (await line.found(name)).state is State.WAITING
