"""Passes over the versions that are to be on trial, on a real store: what is put there, restored and ended."""

import asyncio

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import challengers, ensembles
from orchestrator.store.database import Database
from schemas.base import Mode
from serving.version import ServedVersion
from streams.challenging import Challenging
from streams.deploying import ATTEMPTS
from streams.leading import Leadership
from tests.contracts.store.makers import NOW, digest, events
from tests.unit.streams.fakes import Hurdle
from tests.unit.streams.test_deploying import House


class Stage(House):
    """Deployments, and beside them who puts challengers on trial; what is over ends at once."""

    def __init__(self, db: Database, leadership: Leadership) -> None:
        super().__init__(db, leadership)
        self.challenging = Challenging(
            leadership=leadership,
            serving=self.serving,
            clock=lambda: NOW,
            on_failure=self.fail,
            lingers=0,
            passes_between_looks=1,
        )

    async def reconcile(self) -> None:
        await super().reconcile()
        await self.challenging.reconcile()
        await self.deployments.load_routes()

    async def on_trial(self, mode: Mode = "live") -> None:
        """Version 1 of `bot` serves, and 2 is its challenger."""
        await self.propose(1, mode=mode)
        await self.propose(2, mode="shadow")
        await self.reconcile()

    async def promote(self, *tickers: str) -> None:
        async with self.db.transaction() as tx:
            assert not await challengers.promote(tx, "bot", 2, tickers, "paper", "command-1", NOW)

    async def trial(self) -> list[tuple[str, int]]:
        return [(event.event, event.version) for event in await events(self.db, "retraining-events", "bot")]

    @property
    def slots(self) -> dict[str, tuple[int, Mode]]:
        """Who answers where, and how."""
        return {slot: (found.version, found.mode) for slot, found in self.serving.answering.items() if found}


@pytest.fixture
def stage(db: Database, leadership: Leadership) -> Stage:
    return Stage(db, leadership)


async def test_a_challenger_answers_in_a_slot_of_its_own_beside_the_champion(stage: Stage) -> None:
    await stage.on_trial()
    assert stage.slots == {"bot": (1, "live"), "bot@2": (2, "shadow")}
    assert stage.serving.told[-1] == ServedVersion("bot", 2, digest(2), "shadow", "passed", beside=True)
    assert stage.routed() == [("bot", "live"), ("bot", "shadow")]
    assert await stage.trial() == [("shadowing", 2)]
    assert await stage.told() == [("deploying", 1), ("deploying", 2), ("deployed", 1)]
    assert (await stage.state("experiment-2")).state is State.DEPLOYED
    told = len(stage.serving.told)
    await stage.reconcile()
    assert len(stage.serving.told) == told


async def test_a_promoted_challenger_answers_in_the_champions_slot_and_its_own_is_given_up(stage: Stage) -> None:
    await stage.on_trial()
    await stage.promote("AAPL")
    await stage.deployments.load_routes()
    assert stage.routed() == [("bot", "shadow"), ("bot", "live")]
    await stage.promote()
    # It goes on where it is heard, until it serves.
    await stage.deployments.load_routes()
    assert stage.routed() == [("bot", "shadow"), ("bot", "live")]
    await stage.deployments.reconcile()
    assert stage.routed() == [("bot", "live")]
    assert stage.slots == {"bot": (2, "live"), "bot@2": (2, "shadow")}
    await stage.reconcile()
    assert stage.slots == {"bot": (2, "live")}
    assert (await stage.told())[3:] == [("deploying", 2), ("deployed", 2)]


async def test_one_whose_trial_is_over_answers_on_until_nobody_can_ask_it(stage: Stage) -> None:
    await stage.on_trial()
    stage.challenging._lingers = 60.0
    async with stage.db.transaction() as tx:
        await challengers.retire(tx, "bot", 2, "command-2", NOW)
    await stage.reconcile()
    assert stage.routed() == [("bot", "live")]
    assert stage.slots.keys() == {"bot", "bot@2"}
    stage.challenging._lingers = 0.0
    await stage.reconcile()
    assert stage.slots.keys() == {"bot"}


async def test_a_lost_challenger_is_restored_and_what_an_earlier_worker_left_is_ended(stage: Stage) -> None:
    await stage.on_trial()
    del stage.serving.answering["bot@2"]
    stage.serving.answering["other@7"] = ServedVersion("other", 7, digest(7), "shadow", "passed", beside=True)
    await stage.reconcile()
    assert stage.slots == {"bot": (1, "live"), "bot@2": (2, "shadow")}


@pytest.mark.parametrize("hindered", [False, True])
async def test_one_that_cannot_be_served_is_given_up_and_the_champion_goes_on(stage: Stage, hindered: bool) -> None:
    stage.serving.hindered[digest(2)] = ATTEMPTS * hindered
    stage.serving.broken = set() if hindered else {digest(2)}
    await stage.on_trial()
    for _ in range((ATTEMPTS - 1) * hindered):
        assert ("failed", 2) not in await stage.told()
        await stage.reconcile()
    assert (await stage.told())[-1] == ("failed", 2)
    assert (await stage.state("experiment-2")).state is State.FAILED
    assert (stage.slots, stage.routed()) == ({"bot": (1, "live")}, [("bot", "live")])


async def test_a_challenger_waits_for_whoever_is_about_to_serve(stage: Stage) -> None:
    await stage.on_trial()
    stage.serving.hindered[digest(3)] = 1
    await stage.propose(3, mode="live")
    await stage.propose(4, mode="shadow")
    await stage.reconcile()
    assert stage.slots == {"bot": (1, "live"), "bot@2": (2, "shadow")}
    await stage.reconcile()
    assert stage.slots == {"bot": (3, "live"), "bot@4": (4, "shadow")}
    assert await stage.trial() == [("shadowing", 2), ("retired", 2), ("shadowing", 4)]


async def test_with_a_deleted_ensemble_its_challenger_ends(stage: Stage) -> None:
    await stage.on_trial()
    async with stage.db.transaction() as tx:
        await ensembles.delete(tx, "bot", "command-3", NOW)
    await stage.reconcile()
    assert stage.slots == {}
    assert [route.left is not None for route in stage.routes.covering("AAPL", "1d")] == [True]


async def test_one_whose_champion_is_deleted_meanwhile_is_not_put_on_trial(stage: Stage) -> None:
    await stage.propose(1, mode="live")
    await stage.reconcile()
    await stage.propose(2, mode="shadow")
    stage.serving.slow[digest(2)] = loading = Hurdle()
    beginning = asyncio.ensure_future(stage.challenging.reconcile())
    await loading.reached.wait()
    async with stage.db.transaction() as tx:
        await ensembles.delete(tx, "bot", "command-3", NOW)
    loading.opened.set()
    await beginning
    assert await stage.trial() == []
    assert (await stage.told())[-2:] == [("failed", 2), ("deleted", 1)]
    await stage.reconcile()
    assert stage.slots == {}
