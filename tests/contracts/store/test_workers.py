"""Workers on one database come, go, die and stand still in their work: nothing is lost, nothing doubled."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.admission import Limits
from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, outbox
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from schemas.envelope import decode
from schemas.topics import SEARCH_REQUESTS, TOPICS
from streams import leading, reconciling, relay
from streams.intake import Intake
from streams.judging import Judge
from streams.leading import Leadership
from streams.publisher import Outgoing
from streams.reconciling import Reconciler
from streams.relay import OutboxRelay
from streams.source import Record
from tests.contracts.store.makers import run_out
from tests.unit.streams.fakes import FakePublisher
from tests.unit.streams.ports import FakeDrivers

REQUESTS = 40
STEPS = 150


class Worker:
    """What a worker does with requests, on a database, a topic of requests and a cluster that it shares with others."""

    def __init__(self, house: "House", name: str) -> None:
        def fail(error: BaseException) -> None:
            raise error

        self.name = name
        self.house = house
        parts = {part: Leadership(house.db, part, name, timedelta(minutes=1)) for part in ("relay", "reconciler")}
        self.reconciler = Reconciler(
            leadership=parts["reconciler"], drivers=house.drivers, most=REQUESTS, clock=utc_now, on_failure=fail
        )
        self.relay = OutboxRelay(parts["relay"], house.publisher, utc_now, fail)
        self.intake = Intake(
            database=house.db,
            judge=Judge(lambda timeframe: {"AAPL"}, {"elasticnet": ElasticNetTrainer()}, Limits()),
            publisher=house.publisher,
            clock=utc_now,
            on_accepted=lambda: None,
        )

    async def take(self, commits: bool) -> None:
        """Take the batch that comes next; where it dies before the commit, it comes again."""
        batch = self.house.topic[self.house.committed :][:5]
        await self.intake.take(batch)
        if commits:
            self.house.committed += len(batch)

    async def turn(self) -> None:
        await self.relay.turn()
        await self.reconciler.turn()

    async def leave(self) -> None:
        await self.relay.stop()
        await self.reconciler.stop()

    async def go_on_after_standing_still(self) -> None:
        """It was in the middle of a turn, and does not know what has happened since."""
        for act in (self.relay.carry_batch, self.reconciler.reconcile):
            try:
                await act()
            except LeaseLost:
                self.house.refused += 1


class House:
    """Everything that the workers share."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.drivers = FakeDrivers()
        self.publisher = FakePublisher()
        self.topic = [request(number) for number in range(REQUESTS)]
        self.committed = 0
        self.refused = 0

    async def nobody_is_heard_of(self) -> None:
        for part in ("relay", "reconciler"):
            await run_out(self.db, part)


def utc_now() -> datetime:
    return datetime.now(UTC)


def request(number: int) -> Record:
    asked = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"], "seed": number // 2}
    value = json.dumps(asked | {"request_id": f"request-{number}"}).encode()
    return Record(SEARCH_REQUESTS.name, 0, number, b"key", value, ())


def first_of_each(published: Sequence[Outgoing]) -> dict[str, list[int]]:
    """By key, the sequences of its events in the order in which each was first published."""
    models = {known.name: known.messages for known in TOPICS}
    told: dict[str, list[int]] = defaultdict(list)
    for each in published:
        event = decode(models[each.topic], each.value)
        key = f"{each.topic} {(each.key or b'').decode()}"
        if event.sequence not in told[key]:
            told[key].append(event.sequence)
    return told


@pytest.mark.parametrize("seed", [1, 2])
async def test_workers_that_come_and_go_lose_and_double_nothing(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((relay, "PAUSE_SECONDS"), (reconciling, "PAUSE_SECONDS"), (leading, "STAND_BY_SECONDS")):
        monkeypatch.setattr(module, name, 0)
    draw, house, names = Random(seed), House(db), iter(range(STEPS + 1))
    workers, stopped = [Worker(house, "first")], list[Worker]()
    for _ in range(STEPS):
        worker = draw.choice(workers)
        match draw.choice(["take", "take", "die", "turn", "turn", "turn", "join", "leave", "stop", "go on"]):
            case "take":
                await worker.take(commits=True)
            case "die":
                await worker.take(commits=False)
            case "turn":
                await worker.turn()
            case "join":
                workers.append(Worker(house, f"worker {next(names)}"))
            case "leave" if len(workers) > 1:
                workers.remove(worker)
                await worker.leave()
            case "stop" if len(workers) > 1:
                workers.remove(worker)
                stopped.append(worker)
                await house.nobody_is_heard_of()
            case "go on" if stopped:
                await stopped[-1].go_on_after_standing_still()
    while house.committed < REQUESTS:
        await workers[0].take(commits=True)
    await house.nobody_is_heard_of()
    for _ in range(5):
        await workers[0].turn()
    async with db.snapshot() as tx:
        found = await experiments.in_states(tx, State.WAITING)
        left, _ = await outbox.backlog(tx)
    # Every second request asks for what the one before it did.
    assert sorted(each.request.seed for each in found) == [*range(REQUESTS // 2)]
    assert sorted(house.drivers.launched) == sorted(each.id for each in found)
    assert left == 0
    told = first_of_each(house.publisher.published)
    assert len(told) == len(found)
    for sequences in told.values():
        assert sequences == [1, 2, 3]
    assert house.refused
    for worker in (*workers, *stopped):
        await worker.leave()
