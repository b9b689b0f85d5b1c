"""From a request on Kafka to its events on Kafka: the source, the intake, the store and the relay together."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.admission import Limits
from orchestrator.store import outbox
from orchestrator.store.database import Database
from schemas.dead_letter import read_dead_letter
from schemas.envelope import decode, read_headers
from schemas.topics import EXPERIMENT_EVENTS
from streams import relay
from streams.intake import Intake
from streams.judging import Judge
from streams.leading import Leadership
from streams.publisher import NotDelivered, Outgoing, Publisher
from streams.reader import TopicReader
from streams.relay import OutboxRelay
from streams.source import Batch, KafkaSource, Record
from streams.worker import carry_out
from tests.integration.topics import PATIENCE, committed, content, new_topic, produce

pytestmark = pytest.mark.slow

GROUP = "intake"
Asked = dict[str, Any] | bytes


def utc_now() -> datetime:
    return datetime.now(UTC)


class Forgetful:
    """A publisher whose first acknowledgements get lost."""

    def __init__(self, publisher: Publisher, losing: int) -> None:
        self._publisher = publisher
        self._losing = losing

    async def publish(self, records: Sequence[Outgoing]) -> None:
        await self._publisher.publish(records)
        if records and self._losing:
            self._losing -= 1
            raise NotDelivered([records[0].topic], len(records), "the acknowledgement got lost")


class Desk:
    """A topic of requests of a test's own, and the store that they are settled in."""

    def __init__(self, config: dict[str, Any], database: Database) -> None:
        self.config = config
        self.database = database
        self.judge = Judge(lambda timeframe: {"AAPL"}, {"elasticnet": ElasticNetTrainer()}, Limits(digits=6))
        self.topic = new_topic(config)
        # Other tests tell of their experiments on the same topic of events.
        self.mark = secrets.token_hex(4)
        self.began = utc_now() - timedelta(seconds=1)
        self.failures: list[BaseException] = []
        self._settled = 0
        self._more = asyncio.Condition()
        self._working: asyncio.Future[None] | None = None

    def request(self, number: int, **fields: Any) -> dict[str, Any]:
        asked = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"], "seed": number}
        return {"request_id": f"{self.mark}-{number}"} | asked | fields

    def produce(self, *asked: Asked) -> None:
        values = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in asked]
        produce(self.config, self.topic, [(number % 2, value) for number, value in enumerate(values)])

    @asynccontextmanager
    async def open(self, losing: int = 0) -> AsyncIterator[None]:
        """Take requests, and carry events to Kafka, of which so many acknowledgements get lost."""
        leadership = Leadership(self.database, "relay", self.mark, timedelta(minutes=1))
        taking, telling = Publisher(self.config), Publisher(self.config)
        self._intake = Intake(
            database=self.database,
            judge=self.judge,
            publisher=taking,
            clock=utc_now,
            on_accepted=lambda: None,
        )
        carrying = OutboxRelay(leadership, Forgetful(telling, losing), utc_now, self.failures.append)
        source = KafkaSource(
            self.topic, config=self.config, group=GROUP, channel=self, on_failure=self.failures.append, size=10
        )
        await carrying.start()
        await source.start()
        try:
            yield
        finally:
            for service in (source, carrying):
                await service.stop()
            for publisher in (taking, telling):
                await publisher.close()

    async def send(self, *, value: Batch) -> None:
        """What the source does with a batch: here, the agent takes it."""
        self._working = asyncio.ensure_future(self._take(value))

    async def _take(self, batch: Batch) -> None:
        await carry_out(batch, self.topic, self._intake.take)
        async with self._more:
            self._settled += len(batch.records)
            self._more.notify_all()

    async def settled(self, count: int) -> None:
        """Wait until so many records have been taken."""
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: self._settled >= count)

    def events(self) -> list[Record]:
        """What Kafka tells of this desk's requests."""
        with TopicReader(self.config, [EXPERIMENT_EVENTS], since=self.began) as reader:
            return [record for record in reader.read_to_end() if self.mark.encode() in (record.value or b"")]

    def told(self) -> list[tuple[str, str]]:
        """The events' kinds and requests, sorted: what is told of several has no order."""
        events = [decode(EXPERIMENT_EVENTS.messages, record.value) for record in self.events()]
        return sorted((each.event, each.request_id.removeprefix(f"{self.mark}-")) for each in events)

    async def waiting(self) -> int:
        async with self.database.snapshot() as tx:
            count, _ = await outbox.backlog(tx)
        return count


@pytest_asyncio.fixture
async def desk(kafka_config: dict[str, Any], tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    desk = Desk(kafka_config, database)
    yield desk
    await database.close()
    assert desk.failures == []


async def test_requests_become_events_and_bad_ones_dead_letters(desk: Desk) -> None:
    bad = [b"no JSON", json.dumps(desk.request(7, tickers=["NONE"])).encode()]
    desk.produce(desk.request(0), bad[0], desk.request(1), bad[1], desk.request(0), desk.request(2))
    async with desk.open():
        await desk.settled(6)
    assert desk.told() == [("accepted", "0"), ("accepted", "1"), ("accepted", "2"), ("rejected", "7")]
    letters = content(desk.config, desk.topic.dead_letters)
    assert sorted(letter.value or b"" for letter in letters) == sorted(bad)
    sources = {
        (read.topic, read.partition, read.offset) for read in map(read_dead_letter, (each.headers for each in letters))
    }
    assert sources == {(desk.topic.name, 1, 0), (desk.topic.name, 1, 1)}
    assert sum(committed(desk.config, desk.topic, GROUP).values()) == 6
    assert await desk.waiting() == 0


async def test_a_redelivered_request_is_told_once(desk: Desk) -> None:
    for count in (1, 2):
        desk.produce(desk.request(0))
        async with desk.open():
            await desk.settled(count)
    assert desk.told() == [("accepted", "0")]


async def test_events_carry_their_headers_and_the_trace_of_their_request(desk: Desk) -> None:
    desk.produce(desk.request(0))
    async with desk.open():
        await desk.settled(1)
    (event,) = desk.events()
    envelope = read_headers(event.headers)
    assert (envelope.type, envelope.source) == ("experiment.accepted", "/orchestrator")
    assert envelope.trace is not None
    assert (event.key or b"").decode() == decode(EXPERIMENT_EVENTS.messages, event.value).experiment


async def test_a_lost_acknowledgement_repeats_events_under_the_same_ids_and_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PAUSE_AFTER_FAILURE_SECONDS", 0)
    desk.produce(*(desk.request(number) for number in range(4)))
    async with desk.open(losing=2):
        await desk.settled(4)
    async with desk.open():
        pass
    ids = [read_headers(record.headers).message_id for record in desk.events()]
    assert len(set(ids)) == 4
    assert len(ids) > 4
    assert await desk.waiting() == 0
