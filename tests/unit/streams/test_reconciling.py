"""Passes of the reconciler on a real store: what it deploys, launches, restores and gives up."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, experiments
from orchestrator.store.database import Database
from schemas.base import Mode
from schemas.experiments import GatePassed
from serving.version import ServedVersion
from streams import reconciling
from streams.metrics import EXPERIMENTS
from streams.reconciling import LAUNCHES, Drivers, Reconciler
from streams.routes import Route, Routes
from tests.contracts.store.makers import NOW, VERDICT, digest, events, founded, later, proposal
from tests.unit.streams.ports import DriversContract, FakeDrivers, FakeServing, ServingContract


class TestFakeServing(ServingContract):
    @pytest.fixture
    def serving(self) -> FakeServing:
        serving = FakeServing()
        serving.broken = {digest(100 + number) for number in range(10)}
        return serving

    def version(self, ensemble: str, number: int) -> ServedVersion:
        return ServedVersion(ensemble, number, digest(number), "live", "passed")

    def broken(self, ensemble: str, number: int) -> ServedVersion:
        return ServedVersion(ensemble, number, digest(100 + number), "live", "passed")


class TestFakeDrivers(DriversContract):
    @pytest.fixture
    def drivers(self) -> FakeDrivers:
        return FakeDrivers()

    async def end(self, drivers: Drivers, experiment: str) -> None:
        assert isinstance(drivers, FakeDrivers)
        drivers.living.discard(experiment)


class House:
    """A reconciler and what it speaks to."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.serving = FakeServing()
        self.drivers = FakeDrivers()
        self.routes = Routes()
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.reconciler = self.started_anew()

    def started_anew(self) -> Reconciler:
        """What a worker that comes after another begins with."""
        self.routes.replace([])
        self.reconciler = Reconciler(
            database=self.db,
            serving=self.serving,
            drivers=self.drivers,
            routes=self.routes,
            clock=lambda: NOW,
            on_failure=self.fail,
            passes_between_looks=1,
        )
        return self.reconciler

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    async def reconcile(self) -> None:
        await self.reconciler.reconcile()

    async def propose(self, number: int, ensemble: str = "bot", **fields: Any) -> str:
        """Have an experiment propose a version with a digest of that number."""
        experiment = await founded(self.db, number, State.SELECTED, name=f"experiment-{number}")
        async with self.db.transaction() as tx:
            await ensembles.propose(tx, proposal(experiment, ensemble, digest=digest(number), **fields), NOW)
        return experiment

    async def state(self, experiment: str) -> experiments.Experiment:
        async with self.db.snapshot() as tx:
            return await experiments.get(tx, experiment)

    async def told(self, ensemble: str = "bot") -> list[tuple[str, int]]:
        return [(event.event, event.version) for event in await events(self.db, "ensemble-events", ensemble)]

    def routed(self, ticker: str = "AAPL", timeframe: str = "1d") -> list[tuple[str, Mode]]:
        return [(route.ensemble, route.mode) for route in self.routes.covering(ticker, timeframe)]


@pytest.fixture
def house(db: Database) -> House:
    return House(db)


async def test_a_wanted_version_is_served_routed_and_told(house: House) -> None:
    experiment = await house.propose(1)
    await house.reconcile()
    assert house.serving.answering == {"bot": ServedVersion("bot", 1, digest(1), "paper", "passed")}
    assert house.routed() == [("bot", "paper")]
    assert await house.told() == [("deploying", 1), ("deployed", 1)]
    assert (await house.state(experiment)).state is State.DEPLOYED


async def test_wanted_versions_are_deployed_in_the_order_of_their_numbers(house: House) -> None:
    for number in (1, 2, 3):
        await house.propose(number)
    await house.propose(4, "another")
    await house.reconcile()
    assert [(each.ensemble, each.version) for each in house.serving.told] == [
        ("another", 1),
        ("bot", 1),
        ("bot", 2),
        ("bot", 3),
    ]
    assert house.routed() == [("another", "paper"), ("bot", "paper")]
    assert (await house.told())[-1] == ("deployed", 3)


async def test_what_was_deployed_is_not_deployed_again(house: House) -> None:
    await house.propose(1)
    for _ in range(3):
        await house.reconcile()
    assert len(house.serving.told) == 1


async def test_a_version_whose_gate_was_overridden_says_so(house: House) -> None:
    await house.propose(1, verdict=VERDICT.model_copy(update={"passed": False, "overridden": True}))
    await house.reconcile()
    assert house.serving.answering["bot"].gate == "overridden"


async def test_a_version_that_cannot_be_served_is_given_up_with_its_reasons_and_the_one_before_goes_on(
    house: House,
) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.broken = {digest(2)}
    failed = await house.propose(2, mode="live")
    await house.reconcile()
    await house.reconcile()
    assert await house.told() == [("deploying", 1), ("deployed", 1), ("deploying", 2), ("failed", 2)]
    assert house.serving.answering["bot"].version == 1
    assert house.routed() == [("bot", "paper")]
    found = await house.state(failed)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, ["broken"])


async def test_one_that_fails_does_not_keep_the_next_from_being_deployed(house: House) -> None:
    house.serving.broken = {digest(1)}
    for number in (1, 2):
        await house.propose(number)
    await house.reconcile()
    assert house.serving.answering["bot"].version == 2
    assert house.routed() == [("bot", "paper")]


async def test_a_served_version_that_vanished_is_restored(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering.clear()
    await house.reconcile()
    assert house.serving.answering["bot"].version == 1
    assert await house.told() == [("deploying", 1), ("deployed", 1)]


async def test_another_version_than_the_deployed_one_is_put_right(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering["bot"] = ServedVersion("bot", 9, digest(9), "live", "passed")
    await house.reconcile()
    assert house.serving.answering["bot"].version == 1


async def test_a_successor_that_answers_already_and_is_not_told_of_yet_is_not_replaced(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    await house.propose(2)
    house.serving.answering["bot"] = ServedVersion("bot", 2, digest(2), "paper", "passed")
    await house.started_anew().reconcile()
    assert [each.version for each in house.serving.told] == [1, 2]
    assert (await house.told())[-1] == ("deployed", 2)


async def test_what_cannot_be_restored_is_tried_again_with_the_next_pass_and_holds_nothing_up(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering.clear()
    house.serving.broken = {digest(1)}
    await house.propose(2, "another")
    await house.reconcile()
    assert house.serving.answering.keys() == {"another"}
    house.serving.broken.clear()
    await house.reconcile()
    assert house.serving.answering.keys() == {"another", "bot"}
    assert await house.told() == [("deploying", 1), ("deployed", 1)]


async def test_after_a_restart_the_routes_are_known_from_the_first_pass_on(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    await house.started_anew().reconcile()
    assert house.routed() == [("bot", "paper")]
    assert len(house.serving.told) == 1


async def test_a_version_is_routed_before_it_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, seen = ensembles.mark_deployed, []

    async def marking(*arguments: Any) -> None:
        seen.append(house.routed())
        await mark(*arguments)

    monkeypatch.setattr(ensembles, "mark_deployed", marking)
    await house.propose(1)
    await house.propose(2, mode="live")
    await house.reconcile()
    assert seen == [[("bot", "paper")], [("bot", "live")]]


async def test_an_accepted_experiment_waits_and_is_driven(house: House) -> None:
    first, second = [await founded(house.db, number, now=later(number)) for number in (1, 2)]
    urgent = await founded(house.db, 3, now=later(3), priority=10)
    await house.reconcile()
    assert house.drivers.launched == [urgent, first, second]
    for position, experiment in enumerate((urgent, first, second)):
        assert (await house.state(experiment)).state is State.WAITING
        _, waiting = await events(house.db, "experiment-events", experiment)
        assert (waiting.event, waiting.position) == ("waiting", position)


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED])
async def test_whom_nobody_drives_is_driven_on_from_wherever_it_stands(house: House, state: State) -> None:
    experiment = await founded(house.db, state=state)
    for _ in range(3):
        await house.reconcile()
    assert house.drivers.launched == [experiment]


@pytest.mark.parametrize("state", [State.DEPLOYING, State.DEPLOYED])
async def test_beyond_selection_nobody_is_driven(house: House, state: State) -> None:
    await founded(house.db, state=state)
    await house.reconcile()
    assert house.drivers.launched == []


async def judged(db: Database, experiment: str) -> None:
    event = GatePassed(experiment=experiment, request_id="request-1", sequence=0, emitted_at=NOW, verdict=VERDICT)
    async with db.transaction() as tx:
        await experiments.note(tx, experiment, event, NOW)


async def test_a_selected_experiment_that_was_judged_rests(house: House) -> None:
    experiment = await founded(house.db, state=State.SELECTED)
    await judged(house.db, experiment)
    await house.reconcile()
    assert house.drivers.launched == []


async def test_a_driver_that_dies_too_often_fails_its_experiment_with_the_reason(house: House) -> None:
    experiment = await founded(house.db, state=State.RUNNING)
    for _ in range(LAUNCHES):
        await house.reconcile()
        await house.reconcile()
        assert (await house.state(experiment)).state is State.RUNNING
        house.drivers.living.clear()
    await house.reconcile()
    found = await house.state(experiment)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, ["driver_died"])
    assert (await events(house.db, "experiment-events", experiment))[-1].event == "failed"
    assert house.drivers.launched == [experiment] * LAUNCHES
    await house.reconcile()
    assert len(house.drivers.launched) == LAUNCHES


async def test_the_last_driver_may_take_its_time(house: House) -> None:
    experiment = await founded(house.db, state=State.RUNNING)
    for _ in range(LAUNCHES - 1):
        await house.reconcile()
        house.drivers.living.clear()
    for _ in range(5):
        await house.reconcile()
    assert (await house.state(experiment)).state is State.RUNNING


async def proposed_meanwhile(house: House, experiment: str) -> None:
    async with house.db.transaction() as tx:
        await ensembles.propose(tx, proposal(experiment), NOW)


async def judged_meanwhile(house: House, experiment: str) -> None:
    await judged(house.db, experiment)


@pytest.mark.parametrize("ends", [proposed_meanwhile, judged_meanwhile])
async def test_a_last_driver_that_ends_well_while_it_is_looked_for_fails_nothing(
    house: House, ends: Callable[[House, str], Awaitable[None]]
) -> None:
    experiment = await founded(house.db, state=State.SELECTED)
    for _ in range(LAUNCHES):
        await house.reconcile()
        house.drivers.living.clear()
    house.drivers.on_look = lambda: ends(house, experiment)
    await house.reconcile()
    assert (await house.state(experiment)).state in (State.SELECTED, State.DEPLOYING)


async def test_experiments_are_counted_by_state_and_no_longer_when_there_are_none(house: House) -> None:
    def counted() -> dict[str, float]:
        return {sample.labels["state"]: sample.value for metric in EXPERIMENTS.collect() for sample in metric.samples}

    experiment = await founded(house.db, state=State.RUNNING)
    await house.reconcile()
    assert counted()["running"] == 1
    async with house.db.transaction() as tx:
        await experiments.advance(tx, experiment, State.CANCELLED, None, NOW)
    await house.reconcile()
    assert set(counted().values()) == {0}


class TellingRoutes(Routes):
    """Routes that tell when they are replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = asyncio.Queue[None]()

    def replace(self, routes: Iterable[Route]) -> None:
        super().replace(routes)
        self.replaced.put_nowait(None)


async def test_what_is_new_is_not_kept_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "PAUSE_SECONDS", 3600)
    house.routes = routes = TellingRoutes()
    reconciler = house.started_anew()
    await routes.replaced.get()
    await reconciler.start()
    await routes.replaced.get()
    await house.propose(1)
    reconciler.wake()
    await routes.replaced.get()
    await reconciler.stop()
    assert await house.told() == [("deploying", 1), ("deployed", 1)]
    assert house.failures == []


async def test_what_it_cannot_mend_ends_the_worker(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.unreachable = ConnectionError("no Ray")
    await house.reconciler.start()
    await house.failed.wait()
    await house.reconciler.stop()
    assert house.failures == [house.serving.unreachable]
