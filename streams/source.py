"""A Kafka topic as batches on a Faust channel: librdkafka polls, an agent handles one batch at a time.

An offset is stored, and so committed, only after the agent has said that the effect of the whole batch is durable.
Faust's own consumer acknowledges an event when an exception leaves the agent; here such a batch ends the worker
uncommitted, and the next worker reads it again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.envelope import read_headers
from schemas.topics import Topic
from schemas.trace_context import SPAN_ID_BYTES, TRACE_ID_BYTES, TraceContext, begin_trace
from streams.repeating import OnFailure, Repeating

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
_ask_headers = methodcaller("headers")
"""A plain call that has run often is no longer checked by the interpreter: its failure would strike a later one."""
RawHeaders = list[tuple[str, bytes | None]]
"""As librdkafka reads them."""


def group_of(topic: Topic) -> str:
    """The consumer group in which the service reads a topic."""
    return f"orchestrator.{topic.name}"


@dataclass(frozen=True)
class Record:
    """One record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def trace(self) -> TraceContext:
        """The producer's trace; where it began none, one of the record's own, the same however often it is read."""
        place = f"{self.topic}:{self.partition}:{self.offset}:".encode()
        digest = hashlib.sha256(place + (self.value or b"")).digest()
        return read_headers(self.headers).trace or begin_trace(digest[: TRACE_ID_BYTES + SPAN_ID_BYTES])

    @classmethod
    def of(cls, message: Message) -> "Record":
        """The record that librdkafka handed over."""
        return cls(
            topic=message.topic() or "",
            partition=-1 if (partition := message.partition()) is None else partition,
            offset=-1 if (offset := message.offset()) is None else offset,
            key=message.key(),
            value=message.value(),
            headers=_headers(message),
        )


def _headers(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """A message's headers; none where one of their names is not UTF-8, which librdkafka's client cannot read.

    Headers never make a message bad: its value does. A message is asked once: asked again it would give a broken tuple.
    """
    try:
        return tuple(cast(RawHeaders, _ask_headers(message) or []))
    except (SystemError, UnicodeDecodeError) as error:
        log.warning(
            "headers_unreadable",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            error=str(error),
        )
        return ()


@dataclass(frozen=True)
class Batch:
    """Records in order of partition and offset, to be handled as one."""

    records: tuple[Record, ...]
    finished: "asyncio.Future[None]" = field(repr=False)

    def succeed(self) -> None:
        """Say that the effect of every record is durable."""
        if not self.finished.done():
            self.finished.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Say that it is not: the worker ends, and the records are read again."""
        if not self.finished.done():
            self.finished.set_exception(error)


def soon(consumer: Consumer, size: int, timeout: float) -> list[Message]:
    """At most `size` messages, errors among them, as soon as there is one; none after `timeout` seconds.

    `Consumer.consume` with a timeout would wait for all of `size`.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(size - 1, 0)]


class KafkaSource(Repeating):
    """Feeds one topic to a channel, one batch in flight.

    Args:
        topic: the topic to read.
        config: librdkafka's connection settings.
        group: the consumer group.
        channel: a Faust channel; each event on it is a Batch.
        on_failure: called with the error that ends consumption; the worker must then end too.
        on_assigned: called in the polling thread with the partitions just assigned, before any of their records.
        size: most records of a batch.
    """

    def __init__(
        self,
        topic: Topic,
        *,
        config: dict[str, Any],
        group: str,
        channel: Any,
        on_failure: OnFailure,
        on_assigned: Callable[[Sequence[int]], None] | None = None,
        size: int = 500,
    ) -> None:
        super().__init__(on_failure)
        self._topic = topic
        self._channel = channel
        self._on_assigned = on_assigned
        self._size = size
        self._config = config | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1000,
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.wait.max.ms": 50,
            # A worker that was killed is missed after this long, not after the 45 s of the default.
            "session.timeout.ms": 10_000,
        }
        # librdkafka's callbacks run inside poll, so one thread owns the consumer from the first call to the last.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"poll-{topic.name}")
        self._consumer: Consumer | None = None
        self.assigned: set[int] = set()
        self.ready = asyncio.Event()

    async def on_started(self) -> None:
        """Begin to poll."""
        await self._in_thread(self._open)
        await super().on_started()

    async def on_stop(self) -> None:
        """Finish the batch in work, commit what is stored and leave the group."""
        await super().on_stop()
        if self._consumer is not None:
            await self._in_thread(self._consumer.close)
            self._consumer = None
        self._thread.shutdown()

    async def turn(self) -> None:
        """Poll, and have a batch handled."""
        messages = await self._in_thread(self._poll)
        if self.assigned:
            self.ready.set()
        if not messages:
            return
        batch = Batch(tuple(map(Record.of, messages)), asyncio.get_running_loop().create_future())
        await self._channel.send(value=batch)
        await batch.finished
        await self._in_thread(self._store, {record.partition: record.offset for record in batch.records})

    def _open(self) -> None:
        self._consumer = Consumer(self._config, logger=logging.getLogger("librdkafka"))
        self._consumer.subscribe([self._topic.name], on_assign=self._assigned, on_revoke=self._revoked)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [int(each.partition) for each in partitions]
        if self._on_assigned is not None and numbers:
            self._on_assigned(numbers)
        self.assigned.update(numbers)
        consumer.incremental_assign(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned.difference_update(int(each.partition) for each in partitions)
        consumer.incremental_unassign(partitions)

    def _poll(self) -> list[Message]:
        assert self._consumer is not None
        messages = []
        for message in soon(self._consumer, self._size, POLL_SECONDS):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(error)
            else:
                log.warning("broker_trouble", topic=self._topic.name, error=str(error))
        # A partition may have been taken away since the first of them was polled: whoever has it now reads them.
        return [message for message in messages if message.partition() in self.assigned]

    def _store(self, newest: dict[int, int]) -> None:
        assert self._consumer is not None
        offsets = [
            TopicPartition(self._topic.name, partition, offset + 1)
            for partition, offset in newest.items()
            if partition in self.assigned
        ]
        if offsets:
            self._consumer.store_offsets(offsets=offsets)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
