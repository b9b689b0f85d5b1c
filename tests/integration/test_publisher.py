"""Producing on a real broker: what is acknowledged is there, in order; what is not is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from schemas.topics import MAX_MESSAGE_BYTES
from streams import ports, publisher
from streams.metrics import PUBLISHED
from streams.publisher import NotDelivered, Outgoing, Publisher
from tests.integration.topics import content, new_topic, produce

pytestmark = pytest.mark.slow


@asynccontextmanager
async def publishing(config: dict[str, Any], **options: Any) -> AsyncIterator[Publisher]:
    """A publisher from its start to its close."""
    found = Publisher(config | options)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
def nowhere() -> dict[str, Any]:
    """The settings of a broker that is not there."""
    return {"bootstrap.servers": f"127.0.0.1:{ports.free()}", "log_level": 0}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "DELIVERY_SECONDS", 0.2)


async def test_what_is_published_is_there_whole_and_in_order(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    records = [Outgoing(topic.name, b"key", b"%d" % n, (("n", b"%d" % n), ("empty", None))) for n in range(1000)]
    async with publishing(kafka_config) as found:
        await found.publish(records)
        assert [(each.key, each.value, each.headers) for each in content(kafka_config, topic.name)] == [
            (each.key, each.value, each.headers) for each in records
        ]


async def test_a_partition_that_is_named_is_obeyed_and_otherwise_the_key_decides(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 4)
    async with publishing(kafka_config) as found:
        await found.publish([Outgoing(topic.name, b"same", b"", partition=number) for number in (3, 1, 2, 0)])
        await found.publish([Outgoing(topic.name, b"same", b"by key") for _ in range(5)])
    there = content(kafka_config, topic.name)
    assert sorted(each.partition for each in there if not each.value) == [0, 1, 2, 3]
    assert len({each.partition for each in there if each.value}) == 1


async def test_keys_go_where_java_s_clients_send_them(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 8)
    async with publishing(kafka_config) as found:
        await found.publish([Outgoing(topic.name, key, b"") for key in (b"21", b"foobar", b"a-little-bit-long-string")])
    # murmur2 of these keys, from the tests of Apache Kafka's own Utils.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {each.key: each.partition for each in content(kafka_config, topic.name)} == {
        key: (number & 0x7FFFFFFF) % 8 for key, number in hashes.items()
    }


async def test_a_record_without_key_and_value_is_published(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    async with publishing(kafka_config) as found:
        await found.publish([Outgoing(topic.name, None, None)])
        await found.publish([])
    (there,) = content(kafka_config, topic.name)
    assert (there.key, there.value) == (None, None)


async def test_more_records_than_the_client_s_queue_holds_are_published(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    async with publishing(kafka_config, **{"queue.buffering.max.messages": 10}) as found:
        await found.publish([Outgoing(topic.name, None, b"%d" % n) for n in range(100)])
    assert [each.value for each in content(kafka_config, topic.name)] == [b"%d" % n for n in range(100)]


async def test_a_message_that_the_broker_took_compressed_passes_again_as_a_dead_letter(
    kafka_config: dict[str, Any],
) -> None:
    topic = new_topic(kafka_config, 1)
    huge = b"0" * (6 * MAX_MESSAGE_BYTES)
    produce(kafka_config, topic, [(0, huge)], **{"compression.type": "zstd", "message.max.bytes": 2 * len(huge)})
    async with publishing(kafka_config) as found:
        await found.publish([Outgoing(topic.dead_letters, None, huge)])
    (letter,) = content(kafka_config, topic.dead_letters)
    assert letter.value == huge


async def test_what_the_broker_refuses_is_said_and_what_comes_after_it_is_published(
    kafka_config: dict[str, Any],
) -> None:
    topic = new_topic(kafka_config, 1)
    incompressible = Random(0).randbytes(3 * MAX_MESSAGE_BYTES)
    async with publishing(kafka_config) as found:
        with pytest.raises(NotDelivered) as refused:
            await found.publish([Outgoing(topic.name, None, b"small"), Outgoing(topic.name, None, incompressible)])
        assert (refused.value.topics, refused.value.missing) == ((topic.name,), 1)
        assert "MSG_SIZE_TOO_LARGE" in refused.value.cause
        await found.publish([Outgoing(topic.name, None, b"next")])
    assert [each.value for each in content(kafka_config, topic.name)] == [b"small", b"next"]


async def test_a_broker_that_is_not_there_is_said(nowhere: dict[str, Any], impatient: None) -> None:
    async with publishing(nowhere) as found:
        for _ in range(2):
            with pytest.raises(NotDelivered) as refused:
                await found.publish(
                    [Outgoing("one", None, b""), Outgoing("two", None, b""), Outgoing("one", None, b"")]
                )
            assert (refused.value.topics, refused.value.missing) == (("one", "two"), 3)
            assert refused.value.cause


async def test_what_was_acknowledged_is_counted(kafka_config: dict[str, Any]) -> None:
    topic = new_topic(kafka_config, 1)
    async with publishing(kafka_config) as found:
        await found.publish([Outgoing(topic.name, None, b"")] * 3)
    assert PUBLISHED.labels(topic.name)._value.get() == 3


async def test_what_was_not_is_not(nowhere: dict[str, Any], impatient: None) -> None:
    async with publishing(nowhere) as found:
        with pytest.raises(NotDelivered):
            await found.publish([Outgoing("test-nowhere", None, b"")])
    assert PUBLISHED.labels("test-nowhere")._value.get() == 0
