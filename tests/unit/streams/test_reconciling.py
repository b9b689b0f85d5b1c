"""Passes over the experiments under way, on a real store: who is queued, driven and given up."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, experiments, leases, wishes
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Lease
from schemas.experiments import GatePassed
from schemas.search import Deploy
from streams import reconciling
from streams.leading import Leadership
from streams.metrics import EXPERIMENTS
from streams.reconciling import LAUNCHES, Drivers, Reconciler
from tests.contracts.store.makers import (
    NOW,
    VERDICT,
    admit,
    digest,
    events,
    founded,
    later,
    proposal,
    run_out,
    search,
)
from tests.unit.streams.ports import DriversContract, FakeDrivers


class TestFakeDrivers(DriversContract):
    @pytest.fixture
    def drivers(self) -> FakeDrivers:
        return FakeDrivers()

    async def ended(self, drivers: Drivers, lease: Lease) -> None:
        await drivers.end(lease)


class House:
    """A reconciler and what it speaks to."""

    def __init__(self, db: Database, leadership: Leadership) -> None:
        self.db = db
        self.leadership = leadership
        self.drivers = FakeDrivers()
        self.failures: list[BaseException] = []
        self.most = 8
        self.now = NOW
        self.reconciler = self.started_anew()

    def started_anew(self) -> Reconciler:
        """What a worker that comes after another begins with."""
        self.reconciler = Reconciler(
            leadership=self.leadership,
            drivers=self.drivers,
            most=self.most,
            clock=lambda: self.now,
            on_failure=self.failures.append,
        )
        return self.reconciler

    async def reconcile(self) -> None:
        await self.reconciler.reconcile()

    async def state(self, experiment: str) -> experiments.Experiment:
        async with self.db.snapshot() as tx:
            return await experiments.get(tx, experiment)

    async def driven(self, experiment: str) -> Lease:
        """Have another worker launch its driver."""
        async with self.db.transaction() as tx:
            lease = await leases.acquire(tx, leases.driver_of(experiment), "another", timedelta(minutes=1))
        assert lease is not None
        self.drivers.living[experiment] = lease
        return lease


async def positions(house: House, experiment: str) -> list[int]:
    """What it was told of its place, one after the other."""
    told = await events(house.db, "experiment-events", experiment)
    return [event.position for event in told if event.event == "waiting"]


@pytest.fixture
def house(db: Database, leadership: Leadership) -> House:
    return House(db, leadership)


async def test_an_accepted_experiment_waits_and_is_driven(house: House) -> None:
    first, second = [await founded(house.db, number, now=later(number)) for number in (1, 2)]
    urgent = await founded(house.db, 3, now=later(3), priority=10)
    await house.reconcile()
    assert house.drivers.launched == [urgent, first, second]
    for experiment in (urgent, first, second):
        assert (await house.state(experiment)).state is State.WAITING
        assert await positions(house, experiment) == [0]


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


async def test_a_driver_that_is_not_heard_of_any_more_is_ended_and_another_launched(house: House) -> None:
    experiment = await founded(house.db, state=State.RUNNING)
    await house.reconcile()
    stopped = house.drivers.living[experiment]
    await run_out(house.db, stopped.name)
    await house.reconcile()
    assert house.drivers.ended == [stopped]
    assert house.drivers.living[experiment].epoch == stopped.epoch + 1
    assert house.drivers.launched == [experiment] * 2


async def test_a_driver_that_is_heard_of_is_left_alone_by_a_worker_that_takes_over(house: House) -> None:
    experiment = await founded(house.db, state=State.RUNNING)
    lease = await house.driven(experiment)
    for _ in range(2):
        await house.started_anew().reconcile()
    assert house.drivers.launched == []
    assert house.drivers.living == {experiment: lease}


async def test_a_worker_that_no_longer_leads_launches_nobody_and_changes_nothing(house: House) -> None:
    experiment = await founded(house.db, state=State.RUNNING)
    await run_out(house.db, "it")
    other = Leadership(house.db, "it", "another worker", timedelta(minutes=1))
    assert await other.leads()
    with pytest.raises(LeaseLost):
        await house.reconcile()
    assert house.drivers.launched == []
    assert (await house.state(experiment)).state is State.RUNNING
    await other.resign()


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


@pytest.fixture
def few(house: House) -> House:
    """Two at once."""
    house.most = 2
    house.started_anew()
    return house


async def end(house: House, experiment: str) -> None:
    async with house.db.transaction() as tx:
        await experiments.advance(tx, experiment, State.CANCELLED, None, NOW)
    house.drivers.living.pop(experiment)
    await house.reconcile()


async def test_so_many_are_driven_at_once_and_the_others_wait_in_order_and_are_told_their_place(few: House) -> None:
    first, second, third, fourth = [await founded(few.db, number, now=later(number)) for number in range(1, 5)]
    for _ in range(2):
        await few.reconcile()
    assert few.drivers.launched == [first, second]
    # The first two begin and go on; who is more urgent comes before who is older.
    urgent = await founded(few.db, 5, now=later(5), priority=10)
    await few.reconcile()
    assert few.drivers.launched == [first, second]
    for ended, following in ((second, urgent), (first, third), (urgent, fourth)):
        await end(few, ended)
        assert few.drivers.launched[-1] == following
    told = {experiment: await positions(few, experiment) for experiment in (first, second, third, fourth, urgent)}
    assert told == {first: [0], second: [0], third: [0, 1, 0], fourth: [1, 2, 1, 0], urgent: [0]}


async def test_a_place_that_was_told_is_kept_and_not_told_again_by_a_worker_that_takes_over(few: House) -> None:
    waits = [await founded(few.db, number, now=later(number)) for number in range(1, 5)][-1]
    await few.reconcile()
    assert (await few.state(waits)).position == 1
    few.started_anew()
    await few.reconcile()
    assert await positions(few, waits) == [1]


async def test_what_expires_before_its_turn_has_come_fails_with_the_reason_and_never_begins(few: House) -> None:
    for number in (1, 2):
        await founded(few.db, number)
    expires, waits = [await founded(few.db, number, expires_at=later(60), now=later(1)) for number in (3, 4)]
    # Somebody else wants the same, and has time.
    await admit(few.db, search("patient"), digest(4))
    await few.reconcile()
    few.now = later(60)
    await few.reconcile()
    found = await few.state(expires)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, ["expired"])
    assert (await events(few.db, "experiment-events", expires))[-1].event == "failed"
    assert (await few.state(waits)).state is State.WAITING
    assert (await few.state(waits)).position == 0
    assert not {expires, waits} & {*few.drivers.launched}


async def test_what_has_begun_no_longer_expires(few: House) -> None:
    running = await founded(few.db, 1, State.RUNNING, expires_at=later(60))
    few.now = later(60)
    await few.reconcile()
    assert few.drivers.launched == [running]


async def test_what_has_begun_keeps_its_place_before_what_is_more_urgent(few: House) -> None:
    running = [await founded(few.db, number, State.RUNNING, now=later(number)) for number in (1, 2)]
    urgent = await founded(few.db, 3, priority=10)
    await few.reconcile()
    assert few.drivers.launched == running
    assert await positions(few, urgent) == [0]


async def test_a_request_that_asks_for_waiting_work_hurries_it(few: House) -> None:
    for number in (1, 2):
        await founded(few.db, number)
    older, newer = [await founded(few.db, number, now=later(number)) for number in (3, 4)]
    await few.reconcile()
    await admit(few.db, search("urgent", priority=5), digest(4))
    await few.reconcile()
    assert [(await few.state(each)).position for each in (older, newer)] == [1, 0]


async def test_drivers_that_another_worker_launched_count(few: House) -> None:
    running = [await founded(few.db, number, State.RUNNING, now=later(number)) for number in (1, 2)]
    for experiment in running:
        await few.driven(experiment)
    urgent = await founded(few.db, 3, priority=10)
    await few.reconcile()
    assert few.drivers.launched == []
    assert (await few.state(urgent)).state is State.WAITING


async def test_an_experiment_whose_driver_died_too_often_is_given_up_also_where_there_is_no_room(house: House) -> None:
    house.most = 1
    house.started_anew()
    experiment = await founded(house.db, 1)
    for _ in range(LAUNCHES):
        await house.reconcile()
        house.drivers.living.clear()
    other = await founded(house.db, 2, State.RUNNING, priority=10)
    await house.driven(other)
    await house.reconcile()
    assert (await house.state(experiment)).state is State.FAILED


async def test_what_is_new_is_not_kept_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "PAUSE_SECONDS", 3600)
    launched = asyncio.Queue[str]()

    class Telling(FakeDrivers):
        async def launch(self, experiment: str, lease: Lease) -> None:
            launched.put_nowait(experiment)
            await super().launch(experiment, lease)

    house.drivers = Telling()
    reconciler = house.started_anew()
    first = await founded(house.db, 1)
    await reconciler.start()
    assert await launched.get() == first
    second = await founded(house.db, 2, now=later(-1))
    reconciler.wake()
    assert await launched.get() == second
    await reconciler.stop()
    assert house.failures == []


async def wish(house: House, experiment: str) -> None:
    async with house.db.transaction() as tx:
        deploy = Deploy(auto=True, ensemble_name="bot")
        assert await wishes.wish(tx, "command-1", experiment, "bot", deploy, NOW) == ()


async def test_what_is_wished_for_of_a_search_that_is_over_is_driven_until_it_is_settled(house: House) -> None:
    experiment = await founded(house.db, state=State.SELECTED)
    await judged(house.db, experiment)
    await wish(house, experiment)
    for _ in range(2):
        await house.reconcile()
    assert house.drivers.launched == [experiment]
    async with house.db.transaction() as tx:
        await wishes.settle(tx, ["command-1"])
    house.drivers.living.clear()
    for _ in range(2):
        await house.reconcile()
    assert house.drivers.launched == [experiment]


async def test_a_driver_that_dies_too_often_refuses_the_wish_and_leaves_the_experiment(house: House) -> None:
    experiment = await founded(house.db, state=State.SELECTED)
    await judged(house.db, experiment)
    await wish(house, experiment)
    for _ in range(LAUNCHES):
        await house.reconcile()
        await house.reconcile()
        house.drivers.living.clear()
    await house.reconcile()
    assert (await house.state(experiment)).state is State.SELECTED
    (event,) = await events(house.db, "experiment-events", "command-1")
    assert (event.event, [reason.code for reason in event.reasons]) == ("rejected", ["driver_died"])
    await house.reconcile()
    assert len(house.drivers.launched) == LAUNCHES
