"""Following whole topics on a real broker."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.topics import Topic
from streams.reader import TopicReader
from tests.integration.topics import PATIENCE, new_topic, produce

pytestmark = pytest.mark.slow


def values(reader: TopicReader, count: int) -> set[bytes | None]:
    """The next so many values."""
    found: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, f"{found} and nothing more"
        found += [record.value for record in reader.read(1)]
    return set(found)


def test_everything_that_is_there_is_read_each_partition_in_order(kafka_config: dict[str, Any]) -> None:
    one, other = new_topic(kafka_config, 3), new_topic(kafka_config, 1)
    produce(kafka_config, one, [(n % 2, b"%d" % n) for n in range(100)])
    produce(kafka_config, other, [(0, b"other")])
    with TopicReader(kafka_config, [one, other]) as reader:
        records = reader.read_to_end()
    by_partition = {number: [each.value for each in records if each.partition == number] for number in (0, 1)}
    assert by_partition[1] == [b"%d" % n for n in range(1, 100, 2)]
    assert sorted({each.topic for each in records}) == sorted([one.name, other.name])
    assert len(records) == 101


def test_the_end_of_an_empty_topic_is_found(kafka_config: dict[str, Any]) -> None:
    with TopicReader(kafka_config, [new_topic(kafka_config, 3)]) as reader:
        assert reader.read_to_end() == []


def test_only_the_partitions_asked_for_are_read(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 3)
    produce(kafka_config, topic, [(n, b"%d" % n) for n in range(3)])
    with TopicReader(kafka_config, [topic], partitions=[2, 0]) as reader:
        assert {record.value for record in reader.read_to_end()} == {b"0", b"2"}


def test_what_comes_later_is_followed(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config)
    with TopicReader(kafka_config, [topic]) as reader:
        assert reader.read_to_end() == []
        produce(kafka_config, topic, [(0, b"one"), (1, b"two")])
        assert values(reader, 2) == {b"one", b"two"}


def test_from_a_time_on_only_what_was_produced_since_is_read(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config)
    old, new = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3))
    for moment in (old, new):
        stamped(kafka_config, topic, b"%d" % moment.day, moment)
    for since, expected in (
        (old, [b"1", b"3"]),
        (old + timedelta(milliseconds=1), [b"3"]),
        (new, [b"3"]),
        (new + timedelta(milliseconds=1), []),
    ):
        with TopicReader(kafka_config, [topic], since=since) as reader:
            assert [record.value for record in reader.read_to_end()] == expected


def test_what_is_produced_once_the_reader_is_open_is_never_left_out(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 4)
    produce(kafka_config, topic, [(0, b"earlier")])
    with TopicReader(kafka_config, [topic], since=datetime.now(UTC) + timedelta(minutes=5)) as reader:
        produce(kafka_config, topic, [(n, b"%d" % n) for n in range(4)])
        assert values(reader, 4) == {b"0", b"1", b"2", b"3"}


def test_a_topic_that_is_not_there_is_an_error(kafka_config: dict[str, Any]) -> None:
    missing = Topic("test-missing", "none", 1, None, "nothing")
    with pytest.raises(KafkaException) as error, TopicReader(kafka_config, [missing]):
        pass
    assert error.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def stamped(config: dict[str, Any], topic: Topic, value: bytes, moment: datetime) -> None:
    producer = Producer(config)
    producer.produce(topic.name, value=value, partition=0, timestamp=int(moment.timestamp() * 1000))
    assert producer.flush(PATIENCE) == 0
