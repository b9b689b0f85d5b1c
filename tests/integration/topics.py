"""Topics of a test's own on the session's broker, and what is in them."""

import secrets
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer

from schemas.topics import Topic, dead_letter_topic
from streams import kafka
from streams.reader import TopicReader
from streams.source import Record

PATIENCE = 60.0
Sent = tuple[int, bytes]
"""A partition and a value."""


def new_topic(config: dict[str, Any], partitions: int = 2) -> Topic:
    """A topic with a dead-letter topic, which nobody else uses."""
    name = f"test-{secrets.token_hex(6)}"
    topic = Topic(name, "none", partitions, None, "nothing", consumed=True)
    kafka.ensure_topics(config, [topic, dead_letter_topic(topic)])
    return topic


def produce(config: dict[str, Any], topic: Topic, sent: Iterable[Sent], **options: Any) -> None:
    """Produce values to partitions, each with its own text as key, and wait for the broker."""
    producer = Producer(config | {"acks": "all"} | options)
    for partition, value in sent:
        producer.produce(topic.name, key=value[:100], value=value, partition=partition, headers=[("of", b"test")])
    assert producer.flush(PATIENCE) == 0


def content(config: dict[str, Any], name: str) -> list[Record]:
    """Everything in a topic."""
    topic = Topic(name, "none", 1, None, "nothing")
    with TopicReader(config, [topic]) as reader:
        return reader.read_to_end()


def committed(config: dict[str, Any], topic: Topic, group: str) -> dict[int, int]:
    """The offsets that a group has committed, by partition."""
    positions = kafka.positions(config, {topic.name: group})
    return {each.partition: each.handled for each in positions if each.handled is not None and each.handled >= 0}
