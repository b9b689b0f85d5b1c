"""A topic as batches: what is committed when, and what another consumer reads again."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.topics import Topic
from streams.source import Batch, KafkaSource, Record
from tests.integration.topics import PATIENCE, committed, new_topic, produce

pytestmark = pytest.mark.slow

GROUP = "a-group"
FOREIGN_PRODUCER = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class NotUtf8(str):
    def encode(self, *_):
        return bytes([255])

async def main(bootstrap, topic):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, b"one", headers=[(NotUtf8("?"), b"value")])

asyncio.run(main(*sys.argv[1:]))
"""
"""librdkafka's client writes names as UTF-8 only; other clients write any bytes."""


class Inbox:
    """The channel of a source: a test takes the batches out."""

    def __init__(self) -> None:
        self._batches = asyncio.Queue[Batch]()

    async def send(self, *, value: Batch) -> None:
        await self._batches.put(value)

    async def batch(self) -> Batch:
        """The next batch; a test fails that waits for it in vain."""
        async with asyncio.timeout(PATIENCE):
            return await self.whenever()

    async def whenever(self) -> Batch:
        """The next batch, whenever it comes."""
        return await self._batches.get()


class Reading:
    """A source, its inbox, and what has ended it."""

    def __init__(
        self,
        config: dict[str, Any],
        topic: Topic,
        on_assigned: Callable[[Sequence[int]], None] | None = None,
        size: int = 500,
        **options: Any,
    ) -> None:
        self.inbox = Inbox()
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.source = KafkaSource(
            topic,
            config=config,
            group=GROUP,
            channel=self.inbox,
            on_failure=self.failure.set_result,
            on_assigned=on_assigned,
            size=size,
            **options,
        )

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.source.ready.wait()

    async def failed(self) -> BaseException:
        async with asyncio.timeout(PATIENCE):
            return await self.failure


@asynccontextmanager
async def reading(config: dict[str, Any], topic: Topic, **options: Any) -> AsyncIterator[Reading]:
    """A source from its start to its stop."""
    found = Reading(config, topic, **options)
    await found.source.start()
    try:
        yield found
    finally:
        await found.source.stop()


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


async def test_records_come_whole_and_in_the_order_of_their_partition(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config)
    produce(kafka_config, topic, [(n % 2, b"%d" % n) for n in range(10)])
    found: list[Record] = []
    async with reading(kafka_config, topic) as consumer:
        while len(found) < 10:
            batch = await consumer.inbox.batch()
            found += batch.records
            batch.succeed()
    assert consumer.source.ready.is_set()
    assert {(each.topic, each.key, each.headers) for each in found} == {
        (topic.name, b"%d" % n, (("of", b"test"),)) for n in range(10)
    }
    for partition in (0, 1):
        lying = [(each.offset, each.value) for each in found if each.partition == partition]
        assert lying == [(offset, b"%d" % (2 * offset + partition)) for offset in range(5)]


async def test_a_header_whose_name_is_not_utf_8_keeps_no_record_from_coming(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    command = [sys.executable, "-c", FOREIGN_PRODUCER, kafka_config["bootstrap.servers"], topic.name]
    environment = dict(os.environ) | {"AIOKAFKA_NO_EXTENSIONS": "1"}
    await asyncio.to_thread(partial(subprocess.run, command, env=environment, check=True, timeout=PATIENCE))
    produce(kafka_config, topic, [(0, b"two")])
    found: list[Record] = []
    async with reading(kafka_config, topic) as consumer:
        while len(found) < 2:
            batch = await consumer.inbox.batch()
            found += batch.records
            batch.succeed()
    assert [(each.value, each.headers) for each in found] == [(b"one", ()), (b"two", (("of", b"test"),))]


async def test_a_batch_has_a_limit_and_the_next_comes_when_it_is_finished(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"%d" % n) for n in range(5)])
    taken: list[Sequence[bytes | None]] = []
    async with reading(kafka_config, topic, size=2) as consumer:
        while sum(map(len, taken)) < 5:
            batch = await consumer.inbox.batch()
            taken.append(values(batch.records))
            batch.succeed()
    assert max(map(len, taken)) <= 2
    assert [value for values in taken for value in values] == [b"%d" % n for n in range(5)]


async def test_offsets_are_committed_when_the_batch_is_finished(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"one"), (0, b"two")])
    async with reading(kafka_config, topic) as consumer:
        handled = 0
        while handled < 2:
            batch = await consumer.inbox.batch()
            handled += len(batch.records)
            batch.succeed()
    assert committed(kafka_config, topic, GROUP) == {0: 2}


async def test_what_was_not_finished_is_not_committed_and_is_read_again(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"%d" % n) for n in range(4)])
    async with reading(kafka_config, topic, size=2) as consumer:
        first = await consumer.inbox.batch()
        first.succeed()
        second = await consumer.inbox.batch()
        error = LookupError("it did not take effect")
        second.fail(error)
        assert await consumer.failed() is error
    assert committed(kafka_config, topic, GROUP) == {0: second.records[0].offset}
    async with reading(kafka_config, topic, size=4 - len(first.records)) as consumer:
        again = await consumer.inbox.batch()
        assert values(again.records)[0] == values(second.records)[0]
        again.succeed()


async def test_stopping_finishes_the_batch_in_work_and_commits_it(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"one")])
    consumer = Reading(kafka_config, topic)
    await consumer.source.start()
    batch = await consumer.inbox.batch()
    stopping = asyncio.ensure_future(consumer.source.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    batch.succeed()
    await stopping
    assert committed(kafka_config, topic, GROUP) == {0: 1}
    assert not consumer.failure.done()


async def test_two_at_once_are_committed_in_order_and_both_are_finished_when_it_stops(
    kafka_config: dict[str, Any],
) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"%d" % n) for n in range(4)])
    consumer = Reading(kafka_config, topic, size=1, at_once=2)
    await consumer.source.start()
    first, second = await consumer.inbox.batch(), await consumer.inbox.batch()
    second.succeed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await consumer.inbox.whenever()
    assert committed(kafka_config, topic, GROUP) == {}
    stopping = asyncio.ensure_future(consumer.source.stop())
    first.succeed()
    while not stopping.done():
        await asyncio.wait({stopping}, timeout=0.2)
    assert committed(kafka_config, topic, GROUP) == {0: 2}
    assert values([*first.records, *second.records]) == [b"0", b"1"]


async def test_who_commits_with_the_effects_commits_nothing_here(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    produce(kafka_config, topic, [(0, b"one")])
    async with reading(kafka_config, topic, stores=False) as consumer:
        (await consumer.inbox.batch()).succeed()
        assert consumer.source.group_metadata() is not None
    assert committed(kafka_config, topic, GROUP) == {}


async def test_partitions_are_told_before_any_of_their_records(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config)
    produce(kafka_config, topic, [(0, b"one"), (1, b"two")])
    told: list[int] = []
    async with reading(kafka_config, topic, on_assigned=told.extend) as consumer:
        batch = await consumer.inbox.batch()
        assert sorted(told) == [0, 1]
        batch.succeed()


async def test_an_error_at_the_assignment_ends_it_with_nothing_read(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config)
    produce(kafka_config, topic, [(0, b"one")])
    error = LookupError("no states")

    def unreadable(partitions: Sequence[int]) -> None:
        raise error

    async with reading(kafka_config, topic, on_assigned=unreadable) as consumer:
        assert await consumer.failed() is error
    assert committed(kafka_config, topic, GROUP) == {}


async def test_a_topic_that_is_not_there_ends_it(kafka_config: dict[str, Any]) -> None:
    missing = Topic("test-missing", "none", 1, None, "nothing")
    async with reading(kafka_config, missing) as consumer:
        error = await consumer.failed()
    assert isinstance(error, KafkaException)
    assert error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


class Crew:
    """Sources of one group that finish whatever they are given, and count it."""

    def __init__(self, config: dict[str, Any], topic: Topic, at_once: int) -> None:
        self._config = config
        self._topic = topic
        self._at_once = at_once
        self.finished = Counter[bytes | None]()
        self._more = asyncio.Condition()

    @asynccontextmanager
    async def one_more(self) -> AsyncIterator[Reading]:
        async with reading(self._config, self._topic, size=5, at_once=self._at_once) as consumer:
            working = asyncio.ensure_future(self._work(consumer))
            await consumer.ready()
            try:
                yield consumer
            finally:
                await consumer.source.stop()
                working.cancel()
                await asyncio.wait({working})

    async def _work(self, consumer: Reading) -> None:
        while True:
            batch = await consumer.inbox.whenever()
            async with self._more:
                self.finished.update(values(batch.records))
                batch.succeed()
                self._more.notify_all()

    async def until(self, count: int) -> None:
        """Wait until so many different values are finished."""
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: len(self.finished) >= count)


@pytest.mark.parametrize("at_once", [1, 2])
async def test_rebalances_lose_and_double_nothing_that_was_finished(kafka_config: dict[str, Any], at_once: int) -> None:
    topic = new_topic(kafka_config, 4)
    crew = Crew(kafka_config, topic, at_once)

    def produced(first: int) -> None:
        produce(kafka_config, topic, [(n % 4, b"%d" % n) for n in range(first, first + 200)])

    async with crew.one_more() as first:
        produced(0)
        await crew.until(20)
        # While records are on their way: the second takes partitions over from the first.
        async with crew.one_more() as second:
            produced(200)
            await crew.until(400)
            assert first.source.assigned | second.source.assigned == {0, 1, 2, 3}
            assert not first.source.assigned & second.source.assigned
            produced(400)
            await crew.until(420)
        # And leaves while there are more.
        await crew.until(600)
        produced(600)
        await crew.until(800)
    assert crew.finished == Counter(b"%d" % n for n in range(800))
    assert committed(kafka_config, topic, GROUP) == dict.fromkeys(range(4), 200)
