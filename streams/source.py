"""A Kafka topic as batches on a Faust channel: librdkafka polls, an agent handles one batch at a time.

An offset is stored, and so committed, only after the agent has said that the effect of the whole batch is durable.
Faust's own consumer acknowledges an event when an exception leaves the agent; here such a batch ends the worker
uncommitted, and the next worker reads it again.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, NamedTuple, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.envelope import read_headers
from schemas.topics import Topic
from schemas.trace_context import SPAN_ID_BYTES, TRACE_ID_BYTES, TRACEPARENT, TraceContext, begin_trace, is_plain
from streams.repeating import DRAIN_SECONDS, OnFailure, Repeating

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
_ask_headers = methodcaller("headers")
"""A plain call that has run often is no longer checked by the interpreter: its failure would strike a later one."""
RawHeaders = list[tuple[str, bytes | None]]
"""As librdkafka reads them."""


def group_of(topic: Topic) -> str:
    """The consumer group in which the service reads a topic."""
    return f"orchestrator.{topic.name}"


class Record(NamedTuple):
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

    @property
    def traceparent(self) -> bytes:
        """The header that hands the record's trace on."""
        for name, value in reversed(self.headers):
            if name.lower() == TRACEPARENT:
                if value is not None and is_plain(value):
                    return value
                break
        return str(self.trace).encode()

    @classmethod
    def of(cls, message: Message) -> "Record":
        """The record that librdkafka handed over."""
        partition, offset = message.partition(), message.offset()
        return cls(
            message.topic() or "",
            -1 if partition is None else partition,
            -1 if offset is None else offset,
            message.key(),
            message.value(),
            _headers(message),
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

    @property
    def newest(self) -> dict[int, int]:
        """The offset of the last record of each partition."""
        return {record.partition: record.offset for record in self.records}

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
    """Feeds one topic to a channel, few batches at once.

    Args:
        topic: the topic to read.
        config: librdkafka's connection settings.
        group: the consumer group.
        channel: a Faust channel; each event on it is a Batch.
        on_failure: called with the error that ends consumption; the worker must then end too.
        on_assigned: called in the polling thread with the partitions just assigned, before any of their records.
        size: most records of a batch.
        at_once: most batches in work; they are handed over, and end, in order.
        stores: whether offsets are committed here; they are not where whoever takes the batches commits them with its
            effects.
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
        at_once: int = 1,
        stores: bool = True,
    ) -> None:
        super().__init__(on_failure)
        self._topic = topic
        self._channel = channel
        self._on_assigned = on_assigned
        self._size = size
        self._at_once = at_once
        self._stores = stores
        self._in_work: deque[Batch] = deque()
        self._config = config | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "enable.auto.commit": stores,
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
        self._here = asyncio.get_running_loop()
        await self._in_thread(self._open)
        await super().on_started()

    async def on_stop(self) -> None:
        """Finish the batches in work, commit what is stored and leave the group."""
        await super().on_stop()
        if self._consumer is not None:
            await self._ended()
            await self._in_thread(self._store_ended)
            await self._in_thread(self._consumer.close)
            self._consumer = None
        self._thread.shutdown()

    def group_metadata(self) -> Any:
        """This consumer's membership of its group, as a transaction is told of it."""
        assert self._consumer is not None
        return self._consumer.consumer_group_metadata()

    async def turn(self) -> None:
        """Poll, and have a batch handled."""
        messages = await self._in_thread(self._poll)
        if self.assigned:
            self.ready.set()
        if messages:
            batch = Batch(tuple(map(Record.of, messages)), asyncio.get_running_loop().create_future())
            self._in_work.append(batch)
            await self._channel.send(value=batch)
        await self._finish(at_most=self._at_once - 1)

    async def _finish(self, *, at_most: int) -> None:
        """Wait until no more batches than that are in work, and store the offsets of those that have ended."""
        while self._in_work and (len(self._in_work) > at_most or self._in_work[0].finished.done()):
            await self._in_work[0].finished
            await self._in_thread(self._store_ended)

    async def _ended(self) -> None:
        """Wait for the batches in work, but not for ever."""
        if self._in_work:
            await asyncio.wait([batch.finished for batch in self._in_work], timeout=DRAIN_SECONDS)

    def _store_ended(self) -> None:
        """Store the offsets of the batches that have ended well, in order."""
        while self._in_work and (ended := self._in_work[0].finished).done() and ended.exception() is None:
            self._store(self._in_work.popleft().newest)

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
        # Whoever has them next begins after what is in work here.
        asyncio.run_coroutine_threadsafe(self._ended(), self._here).result()
        self._store_ended()
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
        if self._stores and offsets:
            self._consumer.store_offsets(offsets=offsets)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
