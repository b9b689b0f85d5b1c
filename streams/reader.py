"""Reads topics from a moment on without joining a group: for following, not for consuming."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.topics import Topic
from streams.source import Record, soon

LOOKUP_SECONDS = 15.0
ENOUGH_BYTES = 2**16
"""So much is not kept waiting; less is, for the broker has fewer requests to answer then."""


class TopicReader:
    """A follower of whole topics, every partition of each.

    Args:
        config: librdkafka's connection settings.
        topics: what to read.
        since: from the first record produced at or after this time; None: from the beginning.
        partitions: which partitions of each topic; None: all.
        begin: by topic and partition, the offset to begin at instead of the beginning.
        wait_ms: how long the broker may keep a request open for more to come; more is cheaper, also for the broker.
    """

    def __init__(
        self,
        config: dict[str, Any],
        topics: Sequence[Topic],
        *,
        since: datetime | None = None,
        partitions: Sequence[int] | None = None,
        begin: Mapping[tuple[str, int], int] | None = None,
        wait_ms: int = 50,
    ) -> None:
        self._topics = tuple(topics)
        self._since = since
        self._partitions = partitions
        self._begin = begin or {}
        self.starts: dict[tuple[str, int], int] = {}
        """By topic and partition, the offset that it began at; negative where that was not looked up."""
        self._assigned: set[tuple[str, int]] = set()
        self._ended: set[tuple[str, int]] = set()
        self._consumer = Consumer(
            config
            | {
                "group.id": "unused-by-a-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": wait_ms,
                "fetch.min.bytes": ENOUGH_BYTES,
            }
        )

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            KafkaException: the broker does not answer, or has no such topic.
        """
        try:
            places = [place for topic in self._topics for place in self._places(topic)]
            starts = self._starts(places)
            self._consumer.assign(starts)
            self.starts = {(each.topic, each.partition): each.offset for each in starts}
        except KafkaException:
            self._consumer.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def _places(self, topic: Topic) -> list[TopicPartition]:
        described = self._consumer.list_topics(topic.name, LOOKUP_SECONDS).topics[topic.name]
        if described.error is not None:
            raise KafkaException(described.error)
        numbers = described.partitions if self._partitions is None else self._partitions
        return [TopicPartition(topic.name, number) for number in numbers]

    def _starts(self, places: list[TopicPartition]) -> list[TopicPartition]:
        self._assigned = {(place.topic, place.partition) for place in places}
        if self._since is None:
            begin = self._begin
            return [TopicPartition(*each, begin.get(each, OFFSET_BEGINNING)) for each in sorted(self._assigned)]
        # Where nothing is that young, it is read from today's end on. That end is looked up first, and by its number:
        # asked for by name, it would be looked up later, and what is produced until then would be left out.
        ends = {(place.topic, place.partition): self._end(place) for place in places}
        moment = int(self._since.timestamp() * 1000)
        wanted = [TopicPartition(place.topic, place.partition, moment) for place in places]
        found = self._consumer.offsets_for_times(wanted, LOOKUP_SECONDS)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
            if place.offset < 0:
                place.offset = ends[place.topic, place.partition]
        return list(found)

    def _end(self, place: TopicPartition) -> int:
        _, end = self._consumer.get_watermark_offsets(place, LOOKUP_SECONDS)
        return int(end)

    @property
    def partitions(self) -> frozenset[int]:
        """Numbers of the partitions that are read."""
        return frozenset(number for _, number in self._assigned)

    def read(self, timeout: float, size: int = 1000) -> list[Record]:
        """The next records, in order by partition, as soon as there are any; maybe none, after `timeout` seconds.

        Raises:
            KafkaException: the broker gave an error that does not pass by itself.
        """
        records = []
        for message in soon(self._consumer, size, timeout):
            error = message.error()
            if error is None:
                records.append(Record.of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended = Record.of(message)
                self._ended.add((ended.topic, ended.partition))
            elif error.fatal():
                raise KafkaException(error)
        return records

    def read_to_end(self, patience: float | None = None) -> list[Record]:
        """Every record that is there now.

        Args:
            patience: seconds after which a broker that does not answer is an error; None: it is waited for.

        Raises:
            KafkaException: the broker gave an error that does not pass by itself.
        """
        records: list[Record] = []
        deadline = None if patience is None else time.monotonic() + patience
        while self._ended != self._assigned:
            records.extend(self.read(0.5))
            if deadline is not None and time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the end of the topic was not reached"))
        return records
