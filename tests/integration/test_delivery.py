"""What was decided comes to a real broker once: with the offsets of its ticks, or not at all."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.topics import Topic
from streams import kafka
from streams.delivery import ExactlyOnce
from streams.publisher import Outgoing
from streams.reader import TopicReader
from streams.source import Record

pytestmark = pytest.mark.slow


@pytest.fixture
def topics(kafka_config: dict[str, Any]) -> tuple[Topic, Topic]:
    made = tuple(Topic(f"test-{name}-{uuid4().hex[:8]}", "", 1, None, "") for name in ("ticks", "signals"))
    kafka.ensure_topics(kafka_config, made)
    return made[0], made[1]


@pytest.fixture
def group(kafka_config: dict[str, Any], topics: tuple[Topic, Topic]) -> Iterator[Consumer]:
    consumer = Consumer(kafka_config | {"group.id": f"test-{uuid4().hex[:8]}", "enable.auto.commit": False})
    consumer.subscribe([topics[0].name])
    while not consumer.assignment():
        consumer.poll(0.1)
    yield consumer
    consumer.close()


def read(config: dict[str, Any], topic: Topic) -> list[bytes | None]:
    with TopicReader(config, [topic]) as reader:
        return [each.value for each in reader.read_to_end()]


def committed(consumer: Consumer, topic: Topic) -> int:
    (place,) = consumer.committed([TopicPartition(topic.name, 0)], 10)
    return place.offset


async def test_signals_and_offsets_become_true_together(
    kafka_config: dict[str, Any], topics: tuple[Topic, Topic], group: Consumer
) -> None:
    ticks, signals = topics
    delivery = ExactlyOnce(kafka_config, worker=signals.name, group=group.consumer_group_metadata)
    await delivery.start()
    await delivery.send([Outgoing(signals.name, b"k", b"one", [("n", b"1")])], [Outgoing(signals.name, b"k", b"two")])
    assert await asyncio.to_thread(read, kafka_config, signals) == []
    assert committed(group, ticks) < 0
    await delivery.finish([Record(ticks.name, 0, 6, None, None), Record(ticks.name, 0, 7, None, None)])
    assert await asyncio.to_thread(read, kafka_config, signals) == [b"one", b"two"]
    assert committed(group, ticks) == 8
    await delivery.finish([Record(ticks.name, 0, 8, None, None)])
    assert committed(group, ticks) == 9
    await delivery.close()


async def test_what_a_worker_left_open_is_aborted_by_its_successor_and_it_can_commit_no_more(
    kafka_config: dict[str, Any], topics: tuple[Topic, Topic], group: Consumer
) -> None:
    ticks, signals = topics
    lost, successor = (
        ExactlyOnce(kafka_config, worker=signals.name, group=group.consumer_group_metadata) for _ in range(2)
    )
    await lost.start()
    await lost.send([Outgoing(signals.name, b"k", b"first")], [])
    await lost.finish([Record(ticks.name, 0, 0, None, None)])
    await lost.send([Outgoing(signals.name, b"k", b"late")], [])
    await successor.start()
    with pytest.raises(KafkaException):
        await lost.finish([Record(ticks.name, 0, 1, None, None)])
    await successor.send([Outgoing(signals.name, b"k", b"second")], [])
    await successor.finish([Record(ticks.name, 0, 1, None, None)])
    assert await asyncio.to_thread(read, kafka_config, signals) == [b"first", b"second"]
    assert committed(group, ticks) == 2
    await lost.close()
    await successor.close()
