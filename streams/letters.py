"""Dead letters as they lie on their topics."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from orchestrator.api.ports import Letter
from schemas.dead_letter import read_dead_letter
from schemas.envelope import Undecodable
from schemas.topics import TOPICS, Topic, dead_letter_topic
from streams import kafka
from streams.reader import TopicReader
from streams.source import Record

ANSWER_SECONDS = 15.0
ORIGINALS: Mapping[str, Topic] = {topic.dead_letters: topic for topic in TOPICS if topic.consumed}
"""By the name of a dead-letter topic, where its letters came from."""
DEAD_LETTERS: tuple[Topic, ...] = tuple(map(dead_letter_topic, ORIGINALS.values()))


def newest(config: Mapping[str, Any], limit: int, topics: Sequence[Topic] = DEAD_LETTERS) -> list[Letter]:
    """The newest letters of some dead-letter topics, newest first.

    Raises:
        KafkaException: the broker does not answer.
    """
    positions = kafka.positions(config, {topic.name: None for topic in topics})
    there = [topic for topic in topics if any(each.topic == topic.name for each in positions)]
    if not there:
        return []
    begin = {(each.topic, each.partition): max(each.begin, each.end - limit) for each in positions}
    with TopicReader(dict(config), there, begin=begin) as reader:
        letters = [letter for each in reader.read_to_end(ANSWER_SECONDS) if (letter := letter_of(each)) is not None]
    return sorted(letters, key=lambda each: each.buried_at, reverse=True)[:limit]


def record_at(config: Mapping[str, Any], topic: str, partition: int, offset: int) -> Record | None:
    """The record at one place of a dead-letter topic; None: there is none.

    Raises:
        KafkaException: the broker does not answer.
    """
    places = kafka.positions(config, {topic: None})
    if not any(each.partition == partition and each.begin <= offset < each.end for each in places):
        return None
    deadline = time.monotonic() + ANSWER_SECONDS
    read = dead_letter_topic(ORIGINALS[topic])
    with TopicReader(dict(config), [read], partitions=[partition], begin={(topic, partition): offset}) as reader:
        while time.monotonic() < deadline:
            for record in reader.read(0.5, size=1):
                # Retention may have been faster.
                return record if record.offset == offset else None
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} was not read"))


def letter_of(record: Record) -> Letter | None:
    """The dead letter that a record is; None: somebody else wrote it."""
    try:
        told = read_dead_letter(record.headers)
    except Undecodable:
        return None
    return Letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        came_from=told.topic,
        its_partition=told.partition,
        its_offset=told.offset,
        buried_at=told.time,
        reasons=told.reasons,
        key=record.key,
        value=record.value,
    )
