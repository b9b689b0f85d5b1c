"""Passes over the versions that are wanted, on a real store: what is deployed, routed, restored and given up."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, experiments
from orchestrator.store.database import Database
from schemas.base import Mode, Reason
from serving.deployer import NotYet
from serving.version import ServedVersion, Standing
from streams import deploying
from streams.deploying import ATTEMPTS, CLOSELY, Deployments
from streams.leading import Leadership
from streams.metrics import SERVING_VERSION
from streams.routes import Route, Routes
from tests.contracts.store.makers import NOW, VERDICT, digest, events, founded, proposal
from tests.unit.streams.fakes import Hurdle
from tests.unit.streams.ports import FakeServing, ServingContract


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


class House:
    """Deployments and what they speak to."""

    def __init__(self, db: Database, leadership: Leadership) -> None:
        self.db = db
        self.leadership = leadership
        self.serving = FakeServing()
        self.routes = Routes()
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.deployments = self.started_anew()

    def started_anew(self) -> Deployments:
        """What a worker that comes after another begins with."""
        self.routes.replace([])
        self.deployments = Deployments(
            leadership=self.leadership,
            serving=self.serving,
            routes=self.routes,
            clock=lambda: NOW,
            on_failure=self.fail,
            passes_between_looks=1,
        )
        return self.deployments

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    async def reconcile(self) -> None:
        await self.deployments.reconcile()

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

    def answers(self, ensemble: str = "bot") -> int | None:
        """The number of the version that answers."""
        found = self.serving.answering[ensemble]
        return None if found is None else found.version

    def routed(self, ticker: str = "AAPL", timeframe: str = "1d") -> list[tuple[str, Mode]]:
        return [(route.ensemble, route.mode) for route in self.routes.covering(ticker, timeframe)]


@pytest.fixture
def house(db: Database, leadership: Leadership) -> House:
    return House(db, leadership)


async def test_a_wanted_version_is_served_routed_and_told(house: House) -> None:
    experiment = await house.propose(1)
    await house.reconcile()
    assert house.serving.answering == {"bot": ServedVersion("bot", 1, digest(1), "paper", "passed")}
    assert house.deployments.serves == (ServedVersion("bot", 1, digest(1), "paper", "passed"),)
    assert house.routed() == [("bot", "paper")]
    assert await house.told() == [("deploying", 1), ("deployed", 1)]
    assert (await house.state(experiment)).state is State.DEPLOYED


async def test_wanted_versions_are_deployed_in_the_order_of_their_numbers(house: House) -> None:
    for number in (1, 2, 3):
        await house.propose(number)
    await house.propose(4, "another")
    await house.reconcile()
    assert [each.version for each in house.serving.told if each.ensemble == "bot"] == [1, 2, 3]
    assert [each.version for each in house.serving.told if each.ensemble == "another"] == [1]
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
    assert [each.gate for each in house.serving.told] == ["overridden"]


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
    assert house.answers() == 1
    assert house.routed() == [("bot", "paper")]
    found = await house.state(failed)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, ["broken"])


async def test_one_that_fails_does_not_keep_the_next_from_being_deployed(house: House) -> None:
    house.serving.broken = {digest(1)}
    for number in (1, 2):
        await house.propose(number)
    await house.reconcile()
    assert house.answers() == 2
    assert house.routed() == [("bot", "paper")]


async def test_a_served_version_that_vanished_is_restored(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering.clear()
    await house.reconcile()
    assert house.answers() == 1
    assert await house.told() == [("deploying", 1), ("deployed", 1)]


async def test_another_version_than_the_deployed_one_is_put_right(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering["bot"] = ServedVersion("bot", 9, digest(9), "live", "passed")
    await house.reconcile()
    assert house.answers() == 1


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


async def test_a_version_that_ray_is_in_the_way_of_is_tried_again_with_the_next_pass(house: House) -> None:
    house.serving.hindered[digest(1)] = ATTEMPTS - 1
    experiment = await house.propose(1)
    for _ in range(ATTEMPTS - 1):
        await house.reconcile()
        assert await house.told() == [("deploying", 1)]
        assert (await house.state(experiment)).state is State.DEPLOYING
    await house.reconcile()
    assert await house.told() == [("deploying", 1), ("deployed", 1)]


async def test_a_version_that_ray_is_always_in_the_way_of_is_given_up_and_one_after_it_waits_until_then(
    house: House,
) -> None:
    house.serving.hindered[digest(1)] = ATTEMPTS
    experiment = await house.propose(1)
    await house.propose(2)
    for _ in range(ATTEMPTS):
        assert await house.told() == [("deploying", 1), ("deploying", 2)]
        await house.reconcile()
    assert (await house.told())[2:] == [("failed", 1), ("deployed", 2)]
    found = await house.state(experiment)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, ["hindered"])


async def test_what_nobody_wants_is_deleted_and_what_is_another_s_left_alone(house: House) -> None:
    house.serving.broken = {digest(1)}
    for number, ensemble in ((1, "failed"), (2, "bot")):
        await house.propose(number, ensemble)
    # Half of the first one was made before it was given up.
    house.serving.answering |= {"failed": None, "foreign": None}
    await house.reconcile()
    await house.reconcile()
    assert house.serving.answering.keys() == {"bot", "foreign"}


async def test_while_nobody_can_say_what_answers_versions_are_deployed_and_the_rest_is_left(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    await house.propose(2, "another")
    house.serving.unreachable = NotYet([Reason(code="hindered", message="no Ray")])
    house.serving.answering.clear()
    await house.reconcile()
    assert house.serving.answering.keys() == {"another"}
    house.serving.unreachable = None
    await house.reconcile()
    assert house.serving.answering.keys() == {"another", "bot"}


async def test_ensembles_do_not_wait_for_one_another(house: House) -> None:
    house.serving.slow = {digest(1): Hurdle(), digest(2): Hurdle()}
    for number, ensemble in ((1, "one"), (2, "two"), (3, "three")):
        await house.propose(number, ensemble)
    passing = asyncio.ensure_future(house.reconcile())
    for hurdle in house.serving.slow.values():
        await hurdle.reached.wait()
    for hurdle in house.serving.slow.values():
        hurdle.opened.set()
    await passing
    assert house.serving.answering.keys() == {"one", "two", "three"}


async def test_the_routes_can_be_known_before_anything_is_served_again(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.answering.clear()
    await house.started_anew().load_routes()
    assert house.routed() == [("bot", "paper")]
    assert len(house.serving.told) == 1


@pytest.mark.parametrize(("mode", "code"), [("paper", "live_version_serves"), ("live", None)])
async def test_a_live_version_is_only_replaced_by_a_live_one(house: House, mode: Mode, code: str | None) -> None:
    await house.propose(1, mode="live")
    await house.reconcile()
    challenger = await house.propose(2, mode=mode)
    await house.reconcile()
    if code is None:
        assert (house.answers(), (await house.told())[-1]) == (2, ("deployed", 2))
        return
    assert (house.answers(), (await house.told())[-1]) == (1, ("failed", 2))
    assert house.routed() == [("bot", "live")]
    found = await house.state(challenger)
    assert (found.state, [reason.code for reason in found.reasons]) == (State.FAILED, [code])


async def test_of_two_wishes_of_one_experiment_for_the_same_ensemble_the_first_is_kept(house: House) -> None:
    experiment = await house.propose(1)
    async with house.db.transaction() as tx:
        await ensembles.propose(tx, proposal(experiment, digest=digest(2), mode="live"), NOW)
    await house.reconcile()
    assert await house.told() == [("deploying", 1), ("deploying", 2), ("deployed", 1), ("failed", 2)]
    assert [reason.code for reason in (await events(house.db, "ensemble-events", "bot"))[-1].reasons] == [
        "ensemble_taken"
    ]
    assert (await house.state(experiment)).state is State.DEPLOYED


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_a_version_before_covered_is_routed_on_to_its_successor(house: House, restarted: bool) -> None:
    await house.propose(1, tickers=("AAPL", "MSFT"))
    await house.propose(2, "gone", tickers=("IBM",))
    house.serving.broken = {digest(2)}
    await house.reconcile()
    await house.propose(3, tickers=("GOOG",), timeframe="1h", mode="live")
    await house.reconcile()
    if restarted:
        await house.started_anew().load_routes()
    for ticker, timeframe in (("AAPL", "1d"), ("MSFT", "1d"), ("GOOG", "1h")):
        assert house.routed(ticker, timeframe) == [("bot", "live")]
    assert house.routed("GOOG", "1d") == house.routed("IBM", "1d") == []


async def test_what_it_cannot_mend_ends_the_worker(house: House) -> None:
    await house.propose(1)
    await house.reconcile()
    house.serving.unreachable = ConnectionError("no Ray")
    await house.deployments.start()
    await house.failed.wait()
    await house.deployments.stop()
    assert house.failures == [house.serving.unreachable]


class TellingRoutes(Routes):
    """Routes that tell when they are replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = asyncio.Queue[None]()

    def replace(self, routes: Iterable[Route]) -> None:
        super().replace(routes)
        self.replaced.put_nowait(None)


async def test_it_goes_on_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "PAUSE_SECONDS", 0)
    house.routes = routes = TellingRoutes()
    deployments = house.started_anew()
    await deployments.start()
    await house.propose(1)
    while house.routed() == []:
        await routes.replaced.get()
    await deployments.stop()
    assert await house.told() == [("deploying", 1), ("deployed", 1)]
    assert house.failures == []


async def roll_back(house: House) -> None:
    async with house.db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", None, "command-1", NOW) == ()


async def test_an_earlier_version_of_the_same_search_serves_again_when_a_command_says_so(house: House) -> None:
    experiment = await house.propose(1)
    await house.reconcile()
    async with house.db.transaction() as tx:
        again = proposal(experiment, digest=digest(2), command_id="command-0")
        await ensembles.propose(tx, again, NOW)
    await house.reconcile()
    assert house.answers() == 2
    await roll_back(house)
    await house.reconcile()
    assert (house.answers(), house.serving.told[-1].digest) == (1, digest(1))
    assert (await house.told())[4:] == [("deploying", 1), ("rolled_back", 2), ("deployed", 1)]


async def test_a_version_that_is_overtaken_while_it_starts_is_put_right(house: House) -> None:
    for number in (1, 2):
        await house.propose(number)
    await house.reconcile()
    await house.propose(3)
    house.serving.slow = {digest(3): Hurdle()}
    passing = asyncio.ensure_future(house.reconcile())
    await house.serving.slow[digest(3)].reached.wait()
    await roll_back(house)
    house.serving.slow[digest(3)].opened.set()
    await passing
    assert house.answers() == 3
    for _ in range(2):
        await house.reconcile()
    assert house.answers() == 1
    assert (await house.told())[5:] == [("failed", 3), ("deploying", 1), ("rolled_back", 2), ("deployed", 1)]
    assert house.failures == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_deleted_ensemble_is_only_routed_to_leave_what_it_holds_and_ends(house: House, restarted: bool) -> None:
    for number, ensemble in ((1, "bot"), (2, "another")):
        await house.propose(number, ensemble)
    await house.reconcile()
    async with house.db.transaction() as tx:
        assert await ensembles.delete(tx, "bot", "command-1", NOW) == ()
    if restarted:
        house.started_anew()
    await house.reconcile()
    another, bot = house.routes.covering("AAPL", "1d")
    assert (another.left, bot.left and bot.left.version) == (None, 1)
    assert house.serving.answering.keys() == {"another"}
    assert SERVING_VERSION.labels("bot")._value.get() == 0
    async with house.db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", 1, "command-2", NOW) == ()
    await house.reconcile()
    assert [route.left for route in house.routes.covering("AAPL", "1d")] == [None, None]
    assert house.answers() == 1


async def test_a_version_that_serves_again_is_tried_as_often_as_a_new_one(house: House) -> None:
    house.serving.hindered[digest(1)] = ATTEMPTS - 1
    await house.propose(1)
    for _ in range(ATTEMPTS):
        await house.reconcile()
    await house.propose(2)
    await house.reconcile()
    house.serving.hindered[digest(1)] = ATTEMPTS - 1
    await roll_back(house)
    for _ in range(ATTEMPTS):
        assert house.answers() == 2
        await house.reconcile()
    assert house.answers() == 1


FAULT = Reason(code="version_raises", message="It raised in 3 of 3 calls")


async def three(house: House, **fields: Any) -> None:
    """Versions 1, 2 and 3 of `bot`, of which the last serves."""
    for number in (1, 2, 3):
        await house.propose(number, **fields)
    await house.reconcile()


async def test_a_version_that_does_not_answer_as_it_should_is_rolled_back_and_stays_so(house: House) -> None:
    await three(house)
    house.serving.objections = {digest(3): (FAULT,)}
    for deployments in (house.deployments, house.deployments, house.started_anew()):
        await deployments.reconcile()
    assert house.answers() == 2
    assert (await house.told())[6:] == [("rolled_back", 3), ("deployed", 2)]
    rolled_back = (await events(house.db, "ensemble-events", "bot"))[6]
    assert (rolled_back.serving_version, rolled_back.reasons, rolled_back.command_id) == (2, (FAULT,), None)
    async with house.db.snapshot() as tx:
        stands = [(each.state.value, each.reasons) for each in await ensembles.versions(tx, "bot")]
    assert stands == [("superseded", ()), ("deployed", ()), ("rolled_back", (FAULT,))]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_version_that_cannot_be_loaded_again_is_rolled_back_as_far_as_it_takes(
    house: House, lost: bool
) -> None:
    await three(house)
    house.serving.broken = {digest(3), digest(2)} | (set() if lost else {digest(1)})
    house.serving.answering = {"bot": None}
    await house.reconcile()
    if lost:
        assert house.answers() == 1
        assert (await house.told())[6:] == [("rolled_back", 3), ("deployed", 1)]
        return
    # Where none can be, a disk may be away: nothing is written, and the version that was to serve comes back.
    assert (await house.told())[6:] == []
    house.serving.broken.clear()
    await house.reconcile()
    assert house.answers() == 3
    assert (await house.told())[6:] == []


async def test_a_version_that_ray_has_lost_is_not_rolled_back(house: House) -> None:
    await three(house)
    house.serving.answering.clear()
    house.serving.hindered[digest(3)] = ATTEMPTS + 2
    for _ in range(ATTEMPTS + 2):
        await house.reconcile()
        assert (await house.told())[6:] == []
    await house.reconcile()
    assert house.answers() == 3


async def test_a_live_version_is_not_rolled_back_to_one_on_paper_and_another_search_s_is(house: House) -> None:
    await house.propose(1)
    experiment = await house.propose(2, mode="live")
    await house.reconcile()
    house.serving.objections = {digest(2): (FAULT,), digest(3): (FAULT,)}
    await house.reconcile()
    assert (house.answers(), (await house.told())[-1]) == (2, ("deployed", 2))
    async with house.db.transaction() as tx:
        again = proposal(experiment, digest=digest(3), mode="live", command_id="command-1")
        await ensembles.propose(tx, again, NOW)
    await house.reconcile()
    await house.reconcile()
    assert house.answers() == 2
    assert (await house.told())[-2:] == [("rolled_back", 3), ("deployed", 2)]


async def test_a_command_overtakes_what_rolls_back(house: House) -> None:
    await three(house)
    house.serving.objections = {digest(3): (FAULT,)}
    house.serving.slow = {digest(2): Hurdle()}
    passing = asyncio.ensure_future(house.reconcile())
    await house.serving.slow[digest(2)].reached.wait()
    async with house.db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", 1, "command-1", NOW) == ()
    house.serving.slow[digest(2)].opened.set()
    await passing
    await house.reconcile()
    assert house.answers() == 1
    assert (await house.told())[6:] == [("deploying", 1), ("rolled_back", 3), ("deployed", 1)]
    assert house.failures == []


async def test_every_pass_asks_how_a_version_does_that_was_deployed_lately(house: House) -> None:
    now, looks = NOW, 0
    serving = house.serving.serving

    async def counted() -> dict[str, Standing | None]:
        nonlocal looks
        looks += 1
        return await serving()

    house.serving.serving = counted  # type: ignore[method-assign]
    deployments = Deployments(
        leadership=house.leadership,
        serving=house.serving,
        routes=house.routes,
        clock=lambda: now,
        on_failure=house.fail,
        passes_between_looks=1000,
    )
    await house.propose(1)
    for _ in range(4):
        await deployments.reconcile()
    assert looks == 3
    now += CLOSELY
    await deployments.reconcile()
    assert looks == 3
