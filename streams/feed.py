"""Events and signals as they come, for those who watch: one consumer without a group, however many watch.

Nothing waits for it and nothing depends on it: what comes faster than it is taken is passed over.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from heapq import nlargest
from typing import Any, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from orchestrator.api.ports import Event
from schemas.envelope import Undecodable, decode
from schemas.topics import (
    CONTROL,
    ENSEMBLE_EVENTS,
    EXPERIMENT_EVENTS,
    SIGNALS,
    SIGNALS_PAPER,
    SIGNALS_REPLAY,
    SIGNALS_SHADOW,
    TRIAL_EVENTS,
    Topic,
)
from streams.reader import ENOUGH_BYTES
from streams.source import soon

log = structlog.get_logger(__name__)

TOPICS: tuple[Topic, ...] = (
    EXPERIMENT_EVENTS,
    TRIAL_EVENTS,
    ENSEMBLE_EVENTS,
    SIGNALS,
    SIGNALS_REPLAY,
    SIGNALS_PAPER,
    SIGNALS_SHADOW,
    CONTROL,
)
KEPT = 300
"""Of each topic."""
TAIL = 2_000
"""Records of each partition that are read at the start: heartbeats, which are not kept, lie between signals."""
MOST_BEHIND = 5_000
"""A partition that is further behind is gone on with near its end."""
WAITING = 1_000
"""Events that one who watches may be behind."""
AT_ONCE = 500
TURN_SECONDS = 0.2
"""Turns are apart by this, so that ticks by the thousand leave the processor to others."""
LOOKUP_SECONDS = 15.0
LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_HEARTBEAT = b'"kind":"heartbeat"'


class _Taken(NamedTuple):
    """A record as it lies; it is decoded when somebody looks at it."""

    topic: str
    key: bytes | None
    at: datetime
    value: bytes


class KafkaFeed:
    """Reads the topics in a thread of its own, from `start` on; watched in the event loop that it is started in.

    Args:
        config: librdkafka's connection settings.
        topics: what is read.
    """

    def __init__(self, config: Mapping[str, Any], topics: Sequence[Topic] = TOPICS) -> None:
        self._config = dict(config)
        self._topics = {topic.name: topic for topic in topics}
        self._kept: dict[str, deque[_Taken]] = {name: deque(maxlen=KEPT) for name in self._topics}
        self._followers: dict[asyncio.Queue[Event], frozenset[str]] = {}
        # Who watches looks at the same records again and again.
        self._read = lru_cache(KEPT * len(self._topics))(self._decoded)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to read; what there was before comes a moment later."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Read no more."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join)

    @asynccontextmanager
    async def follow(self, topics: Collection[str]) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of some topics from now on. Who reads too slowly misses the oldest ones."""
        queue: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._followers[queue] = frozenset(topics)
        try:
            yield _drawn(queue)
        finally:
            del self._followers[queue]

    def recent(self, topics: Collection[str], limit: int) -> Sequence[Event]:
        """The newest events of some topics, newest first; of before this process began those that are kept."""
        kept = [each for name in topics for each in tuple(self._kept.get(name, ()))]
        # Those of one moment were taken in the order of their partition: the later one is newer.
        newest = nlargest(limit, enumerate(kept), key=lambda each: (each[1].at, each[0]))
        return [event for _, each in newest if (event := self._read(each)) is not None]

    def _run(self) -> None:
        while not self._ended.is_set():
            consumer = Consumer(
                self._config
                | {
                    "group.id": "unused-by-a-feed",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "latest",
                    "fetch.wait.max.ms": 100,
                    "fetch.min.bytes": ENOUGH_BYTES,
                    "queued.max.messages.kbytes": 8192,
                    "log_level": 0,
                }
            )
            try:
                consumer.assign(list(_tails(consumer, self._topics)))
                while not self._ended.is_set():
                    self._take(consumer)
                    self._ended.wait(TURN_SECONDS)
            except KafkaException as error:
                log.warning("feed_interrupted", error=str(error.args[0]))
                self._ended.wait(1.0)
            finally:
                consumer.close()

    def _take(self, consumer: Consumer) -> None:
        """One turn.

        Raises:
            KafkaException: the client cannot go on.
        """
        taken: list[_Taken] = []
        last: dict[tuple[str, int], int] = {}
        for message in soon(consumer, AT_ONCE, TURN_SECONDS):
            error = message.error()
            if error is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue
            last[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0)
            value = message.value()
            if value is not None and _HEARTBEAT not in value:
                taken.append(_Taken(str(message.topic()), message.key(), _time(message), value))
        for each in taken:
            self._kept[each.topic].append(each)
        if taken and self._followers and self._loop is not None:
            with suppress(RuntimeError):  # the loop has been closed: nobody watches any more
                self._loop.call_soon_threadsafe(self._hand_out, taken)
        for (topic, partition), offset in last.items():
            self._keep_up(consumer, topic, partition, offset)

    def _hand_out(self, taken: Sequence[_Taken]) -> None:
        watched = frozenset[str]().union(*self._followers.values())
        for each in taken:
            event = self._read(each) if each.topic in watched else None
            if event is None:
                continue
            for queue, topics in self._followers.items():
                if each.topic in topics:
                    if queue.full():
                        queue.get_nowait()
                    queue.put_nowait(event)

    def _decoded(self, taken: _Taken) -> Event | None:
        """The event of a record; None: a newer version may tell of what this one does not know."""
        try:
            message = decode(self._topics[taken.topic].messages, taken.value)
        except Undecodable:
            return None
        key = (taken.key or b"").decode(errors="replace")
        return Event(taken.topic, key, taken.at, message, json.loads(taken.value))

    @staticmethod
    def _keep_up(consumer: Consumer, topic: str, partition: int, offset: int) -> None:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        if end - offset > MOST_BEHIND:
            log.info("feed_passes_over", topic=topic, partition=partition, records=end - offset - KEPT)
            consumer.seek(TopicPartition(topic, partition, end - KEPT))


async def _drawn(queue: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        yield await queue.get()


def _tails(consumer: Consumer, topics: Iterable[str]) -> Iterator[TopicPartition]:
    """The end of every partition, and a little before it.

    Raises:
        KafkaException: the broker does not answer, or has not all of the topics yet.
    """
    for topic in topics:
        described = consumer.list_topics(topic, LOOKUP_SECONDS).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        for number in described.partitions:
            begin, end = consumer.get_watermark_offsets(TopicPartition(topic, number), LOOKUP_SECONDS)
            yield TopicPartition(topic, number, max(begin, end - TAIL))


def _time(message: RawMessage) -> datetime:
    """When a record was produced, as its producer says; one that says what no time is, at the end of that side."""
    _, milliseconds = message.timestamp()
    return datetime.fromtimestamp(min(max(milliseconds / 1000, 0), LAST_SECOND), UTC)
