"""Who is answered and who is driven, on a real store; answers are in name only."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, leases
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease
from orchestrator.store.requests import Accepted
from schemas.experiments import ExperimentCompleted
from streams.answering import KnownFirst
from streams.leading import Leadership
from streams.reconciling import Drivers, Reconciler
from tests.contracts.store.makers import NOW, admit, digest, founded, later, search
from tests.unit.streams.fakes import Hurdle
from tests.unit.streams.ports import DriversContract, FakeDrivers


class FakeAnswers:
    """Answers what it knows.

    Attributes:
        known: experiments that need no driver.
        asked: every one that was asked for, in order.
        slow: these are answered when their hurdle is opened.
        broken: raised instead of an answer.
    """

    def __init__(self, db: Database) -> None:
        self.db = db
        self.known: set[str] = set()
        self.asked: list[str] = []
        self.slow: dict[str, Hurdle] = {}
        self.broken: Exception | None = None

    async def answer(self, experiment: str, lease: Lease) -> bool:
        self.asked.append(experiment)
        if experiment in self.slow:
            self.slow[experiment].reached.set()
            await self.slow[experiment].opened.wait()
        if self.broken is not None:
            raise self.broken
        async with self.db.transaction() as tx:
            if experiment in self.known:
                await experiments.advance(tx, experiment, State.CANCELLED, None, NOW)
            await leases.release(tx, lease)
        return experiment in self.known


class House:
    """A reconciler, and those who see that experiments are led."""

    def __init__(self, db: Database, leadership: Leadership) -> None:
        self.db = db
        self.answers = FakeAnswers(db)
        self.drivers = FakeDrivers()
        self.first = KnownFirst(db, self.answers, self.drivers)
        self.failures: list[BaseException] = []
        self.reconciler = Reconciler(
            leadership=leadership, drivers=self.first, most=8, clock=lambda: NOW, on_failure=self.failures.append
        )

    async def reconcile(self, passes: int = 1) -> None:
        """So many passes; after each, answers come as far as nothing is in their way."""
        for _ in range(passes):
            await self.reconciler.reconcile()
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def house(db: Database, leadership: Leadership) -> AsyncIterator[House]:
    house = House(db, leadership)
    yield house
    await house.first.stop()


class TestKnownFirst(DriversContract):
    @pytest.fixture
    def drivers(self, house: House) -> KnownFirst:
        return house.first

    async def ended(self, drivers: Drivers, lease: Lease) -> None:
        await drivers.end(lease)


async def has_searched(db: Database, number: int = 1) -> None:
    """An experiment that has come to the end of its search, and of all that it was for."""
    experiment = await founded(db, number, State.RUNNING)
    event = ExperimentCompleted(
        experiment=experiment,
        request_id=f"request-{number}",
        sequence=0,
        emitted_at=NOW,
        finished=2,
        failed=0,
        best=None,
        deflated_sharpe=None,
        seconds=1.0,
    )
    async with db.transaction() as tx:
        await experiments.advance(tx, experiment, State.SEARCHED, event, NOW)
        await experiments.advance(tx, experiment, State.CANCELLED, None, NOW)


async def asked_again(db: Database, number: int = 1) -> str:
    """Another experiment, of the same work as that of this number."""
    admission = await admit(db, search(f"again-{number}"), digest(number), now=later(number))
    assert isinstance(admission, Accepted)
    return admission.experiment


async def test_what_was_searched_before_is_answered_and_not_driven(house: House) -> None:
    await has_searched(house.db)
    again = await asked_again(house.db)
    house.answers.known = {again}
    house.answers.slow[again] = Hurdle()
    await house.reconcile(3)
    house.answers.slow[again].opened.set()
    await house.reconcile(3)
    assert (house.answers.asked, house.drivers.launched) == ([again], [])


async def test_what_cannot_be_answered_after_all_is_driven(house: House) -> None:
    await has_searched(house.db)
    again = await asked_again(house.db)
    await house.reconcile(3)
    assert (house.answers.asked, house.drivers.launched) == ([again], [again])
    house.drivers.living.clear()
    await house.reconcile(2)
    assert (house.answers.asked, house.drivers.launched) == ([again], [again, again])


@pytest.mark.parametrize("state", [State.RUNNING, State.SEARCHED, State.SELECTED])
async def test_what_has_begun_is_driven(house: House, state: State) -> None:
    await has_searched(house.db)
    again = await asked_again(house.db)
    async with house.db.transaction() as tx:
        for each in (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED):
            await experiments.advance(tx, again, each, None, NOW)
            if each is state:
                break
    await house.reconcile(2)
    assert (house.answers.asked, house.drivers.launched) == ([], [again])


async def test_what_nobody_has_searched_to_the_end_is_driven(house: House) -> None:
    await has_searched(house.db)
    new = await founded(house.db, 2)
    broken_off = await founded(house.db, 3, State.RUNNING)
    async with house.db.transaction() as tx:
        await experiments.advance(tx, broken_off, State.CANCELLED, None, NOW)
    again = await asked_again(house.db, 3)
    await house.reconcile(2)
    assert (house.answers.asked, set(house.drivers.launched)) == ([], {new, again})


async def test_they_are_answered_one_after_the_other_while_others_are_driven(house: House) -> None:
    again = []
    for number in (1, 2):
        await has_searched(house.db, number)
        again.append(await asked_again(house.db, number))
        house.answers.slow[again[-1]] = Hurdle()
    new = await founded(house.db, 3)
    await house.reconcile(3)
    assert (house.answers.asked, house.drivers.launched) == (again[:1], [new])
    house.answers.slow[again[0]].opened.set()
    await house.reconcile(2)
    assert (house.answers.asked, house.drivers.launched) == (again, [new, again[0]])
    house.answers.slow[again[1]].opened.set()


async def test_one_that_another_worker_answered_when_it_died_is_led_on(house: House) -> None:
    await has_searched(house.db)
    again = await asked_again(house.db)
    async with house.db.transaction() as tx:
        assert await leases.acquire(tx, leases.driver_of(again), "another", timedelta(minutes=1))
    house.answers.known = {again}
    await house.reconcile(2)
    assert (house.answers.asked, house.drivers.launched) == ([again], [])


async def test_an_answer_that_breaks_off_leaves_the_experiment_to_a_driver(house: House) -> None:
    await has_searched(house.db)
    again = await asked_again(house.db)
    house.answers.broken = OSError("no space left on device")
    await house.reconcile(3)
    assert (house.answers.asked, house.drivers.launched) == ([again], [again])


async def test_who_is_stopped_finishes_the_answer_at_hand_and_begins_no_other(house: House) -> None:
    again = []
    for number in (1, 2):
        await has_searched(house.db, number)
        again.append(await asked_again(house.db, number))
    hurdle = house.answers.slow[again[0]] = Hurdle()
    await house.reconcile(2)
    await hurdle.reached.wait()
    stopping = asyncio.ensure_future(house.first.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    hurdle.opened.set()
    await stopping
    assert (house.answers.asked, house.drivers.launched) == (again[:1], [])
