"""The broker between drivers and lanes, without Ray around it."""

import asyncio
from typing import Any

from orchestrator.search import slots
from orchestrator.search.slots import Begun, Broken, Done, Lost, Slots, Turn
from schemas.base import Reason

WORK: Any = "what Ray holds"
STEPS: Any = "steps"
OUTCOMES: Any = "outcomes"
POOL, LANE = "pool", "pool/0"
REASON = Reason(code="out_of_time", message="too long")


async def opened(*jobs: int, run: str = "r") -> Slots:
    broker = Slots()
    await broker.open(run, [WORK], 1.0, POOL, 8, 8.0)
    await broker.offer(run, [(job, STEPS) for job in jobs])
    return broker


async def given(broker: Slots, lane: str = LANE, finished: Any = None) -> Turn:
    turn, _ = await broker.take(lane, POOL, finished)
    assert turn is not None
    return turn


async def test_a_job_goes_to_a_lane_and_its_outcomes_to_the_driver() -> None:
    broker = await opened(7)
    turn = await given(broker)
    assert (turn.run, turn.work, turn.job, turn.steps) == ("r", [WORK], 7, [STEPS])
    asked = asyncio.create_task(broker.take(LANE, POOL, ("r", 7, [OUTCOMES])))
    await asyncio.sleep(0)
    assert await broker.hear("r", 0.0) == [Begun(7), Done(7, [OUTCOMES])]
    assert not asked.done()
    await broker.close("r")
    assert await asked == (None, frozenset())


async def test_who_listens_hears_at_once() -> None:
    broker = await opened()
    listening = asyncio.create_task(broker.hear("r", 60.0))
    await asyncio.sleep(0)
    await broker.offer("r", [(1, STEPS)])
    await given(broker)
    assert await listening == [Begun(1)]


async def test_a_lane_that_dies_is_told_of_with_what_it_had_said() -> None:
    broker = await opened(1, 2)
    await given(broker)
    await broker.blame(LANE, REASON)
    await broker.lost(LANE, POOL, "killed")
    await given(broker)
    await broker.lost(LANE, POOL, "killed")
    heard = await broker.hear("r", 0.0)
    assert heard == [Begun(1), Lost(1, REASON, "killed"), Begun(2), Lost(2, None, "killed")]


async def test_a_lane_that_was_started_again_before_anybody_heard_has_lost_its_job() -> None:
    broker = await opened(1, 2)
    await given(broker)
    assert (await given(broker)).job == 2
    heard = await broker.hear("r", 0.0)
    assert heard is not None
    assert isinstance(heard[1], Lost)
    assert heard[1].job == 1


async def test_lanes_that_die_before_they_have_a_job_end_the_runs_of_their_pool_only() -> None:
    broker = await opened()
    await broker.open("other", [], 1.0, "another pool", 8, 8.0)
    for _ in range(slots.IDLE_DEATHS):
        await broker.lost(LANE, POOL, "no module")
    assert await broker.hear("r", 0.0) == []
    await broker.lost(LANE, POOL, "no module")
    assert await broker.hear("r", 0.0) == [Broken("no module")]
    assert await broker.hear("other", 0.0) == []


async def test_one_lane_that_asks_for_a_job_shows_that_lanes_work() -> None:
    broker = await opened(1)
    for _ in range(slots.IDLE_DEATHS):
        await broker.lost(LANE, POOL, "no module")
    await given(broker)
    await broker.lost(LANE, POOL, "killed")
    await broker.lost(LANE, POOL, "killed")
    heard = await broker.hear("r", 0.0)
    assert heard is not None
    assert not any(isinstance(each, Broken) for each in heard)


async def test_an_experiment_has_one_run_at_a_time_and_none_once_it_is_stopped() -> None:
    broker = await opened(run="mine.1")
    for run in ("mine.other.1", "mine.2"):
        await broker.open(run, [WORK], 1.0, POOL, 8, 8.0)
    known = {run: await broker.hear(run, 0.0) for run in ("mine.1", "mine.2", "mine.other.1")}
    assert known == {"mine.1": None, "mine.2": [], "mine.other.1": []}
    await broker.stop("mine")
    assert await broker.hear("mine.2", 0.0) is None
    assert await broker.hear("mine.other.1", 0.0) == []


async def test_a_broker_that_began_anew_says_that_it_does_not_know_a_run() -> None:
    broker = Slots()
    assert await broker.hear("r", 0.0) is None
    assert not await broker.offer("r", [])


async def test_what_nobody_waits_for_is_not_worth_a_beat() -> None:
    broker = await opened(1)
    await given(broker)
    assert await broker.beat(LANE)
    await broker.close("r")
    assert not await broker.beat(LANE)


async def test_a_run_that_nobody_listens_to_ends(monkeypatch: Any) -> None:
    broker = await opened(1, 2)
    monkeypatch.setattr(slots, "DRIVER_PATIENCE", -1.0)
    await given_nothing(broker)
    assert await broker.hear("r", 0.0) is None


async def given_nothing(broker: Slots) -> None:
    asked = asyncio.create_task(broker.take(LANE, POOL))
    await asyncio.sleep(0)
    assert not asked.done()
    asked.cancel()
