"""Finding a signal by its id: among the newest of each place and in the topics of signals, from their ends backwards.

An id does not say where its signal lies. So values are searched for its bytes, and only what has them is decoded.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orchestrator.api.ports import FoundSignal, Looked, Sought
from schemas.envelope import Undecodable, decode
from schemas.signals import Signal
from schemas.topics import SIGNAL_STATE, SIGNALS, SIGNALS_BY_MODE, SIGNALS_PAPER, SIGNALS_REPLAY, SIGNALS_SHADOW
from streams import kafka
from streams.murmur import partition_of

TOPICS = (SIGNAL_STATE, SIGNALS, SIGNALS_PAPER, SIGNALS_SHADOW, SIGNALS_REPLAY)
MOST_RECORDS = 5_000_000
"""After which a search is given up."""
FIRST_BLOCK, LARGEST_BLOCK = 10_000, 320_000
"""Records of a partition that are read at once: at first, and, twice as many each time, at last."""
AT_ONCE = 5_000
ANSWER_SECONDS = 15.0
BEFORE = timedelta(hours=1)
"""How long before a signal that was found the first one of its id may have been published."""

Place = tuple[str, int]
OnProgress = Callable[[int], None]


class _Span(NamedTuple):
    """Records of a partition, from an offset to before another."""

    begin: int
    end: int


class _Search:
    """A search under way.

    Args:
        consumer: of no group.
        signal_id: what is looked for.
        on_progress: is told how many records were read.
    """

    def __init__(self, consumer: Consumer, signal_id: str, on_progress: OnProgress) -> None:
        self._consumer = consumer
        self._signal_id = signal_id
        self._on_progress = on_progress
        self._counts = {each.name: 0 for each in TOPICS}
        self._oldest: dict[str, int] = {}
        """By topic, the milliseconds at which the oldest record that was read was produced."""

    @property
    def read(self) -> int:
        """Records so far."""
        return sum(self._counts.values())

    def backwards(self, left: dict[Place, _Span], limit: int) -> FoundSignal | None:
        """A signal of the id in what is left, a block of each topic in turn; `left` shrinks by what was read.

        Raises:
            KafkaException: the broker does not answer.
        """
        size = FIRST_BLOCK
        while self.read < limit and any(span.begin < span.end for span in left.values()):
            for topic in TOPICS:
                mine = {place: span for place, span in left.items() if place[0] == topic.name}
                newest = {place: _Span(max(span.begin, span.end - size), span.end) for place, span in mine.items()}
                if (found := self.through(newest)) is not None:
                    return found
                left |= {place: _Span(mine[place].begin, span.begin) for place, span in newest.items()}
            size = min(2 * size, LARGEST_BLOCK)
        return None

    def through(self, spans: Mapping[Place, _Span]) -> FoundSignal | None:
        """The first signal of the id in some spans; None: it is in none of them.

        Raises:
            KafkaException: the broker does not answer.
        """
        needle = self._signal_id.encode()
        for message in self._messages({place: span for place, span in spans.items() if span.begin < span.end}):
            value = message.value()
            if value is not None and needle in value and (found := self._signal(message, value)) is not None:
                return found
        return None

    def looked(self, left: Mapping[Place, _Span]) -> tuple[Looked, ...]:
        """How far back each topic was read; `left` is what was not."""
        unread = {topic for (topic, _), span in left.items() if span.begin < span.end}
        return tuple(
            Looked(
                topic=topic,
                records=count,
                back_to=_moment(self._oldest[topic]) if count else None,
                whole=topic not in unread,
            )
            for topic, count in self._counts.items()
        )

    def published(self, signal: Signal, spans: Mapping[Place, _Span]) -> FoundSignal | None:
        """The first of the id on the topic that it was published on: that one counts, whatever came after it."""
        topic = SIGNALS_BY_MODE[signal.mode].name
        since = int((signal.emitted_at - BEFORE).timestamp() * 1000)
        wanted = [TopicPartition(*place, since) for place in spans if place[0] == topic]
        starts = self._consumer.offsets_for_times(wanted, ANSWER_SECONDS) if wanted else []
        begin = {(each.topic, each.partition): each.offset for each in starts if each.offset >= 0}
        return self.through({place: _Span(first, spans[place].end) for place, first in begin.items()})

    def _signal(self, message: Message, value: bytes) -> FoundSignal | None:
        """The signal of a record that has the bytes of the id; another one may say that it supersedes it."""
        try:
            signal = decode(Signal, value)
        except Undecodable:
            return None
        if signal.id != self._signal_id:
            return None
        place = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        return FoundSignal(*place, produced_at=_moment(message.timestamp()[1]), signal=signal)

    def _messages(self, spans: Mapping[Place, _Span]) -> Iterator[Message]:
        """Every record of some spans, in order by partition."""
        unread, deadline = dict(spans), time.monotonic() + ANSWER_SECONDS
        self._consumer.assign([TopicPartition(*place, span.begin) for place, span in spans.items()])
        while unread:
            for message in self._consumer.consume(AT_ONCE, 0.5):
                error, place = message.error(), (str(message.topic()), int(message.partition() or 0))
                ended = error is not None and error.code() == KafkaError._PARTITION_EOF
                if error is not None and not ended:
                    if error.fatal():
                        raise KafkaException(error)
                    continue
                deadline = time.monotonic() + ANSWER_SECONDS
                span, offset = unread.get(place), int(message.offset() or 0)
                if span is None:
                    continue
                if not ended and offset < span.end:
                    self._count(place[0], message.timestamp()[1])
                    yield message
                # What was compacted away, or marks the end of a transaction, has an offset and never comes.
                if ended or offset >= span.end - 1:
                    del unread[place]
                    self._consumer.incremental_unassign([TopicPartition(*place)])
            self._on_progress(self.read)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the signals were not read to their end"))

    def _count(self, topic: str, produced: int) -> None:
        self._counts[topic] += 1
        if produced < self._oldest.get(topic, produced + 1):
            self._oldest[topic] = produced


def find(
    config: Mapping[str, Any],
    signal_id: str,
    ticker: str | None = None,
    limit: int = MOST_RECORDS,
    on_progress: OnProgress = lambda read: None,
) -> Sought:
    """Look for the signal of an id; of several, it is the one that was published first.

    Args:
        config: librdkafka's connection settings.
        signal_id: its id.
        ticker: its instrument: then one partition of each topic of signals is looked at; None: all.
        limit: records after which it is given up.
        on_progress: is told how many records were read.

    Raises:
        KafkaException: the broker does not answer.
    """
    spans = _spans(config, ticker)
    left = dict(spans)
    consumer = Consumer(
        dict(config)
        | {
            "group.id": "unused-by-a-search",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.min.messages": FIRST_BLOCK,
        }
    )
    search = _Search(consumer, signal_id, on_progress)
    try:
        found = search.backwards(left, limit)
        looked = search.looked(left)
        return Sought(found if found is None else search.published(found.signal, spans) or found, looked)
    finally:
        consumer.close()


def _spans(config: Mapping[str, Any], ticker: str | None) -> dict[Place, _Span]:
    """What there is to look at, by topic and partition."""
    topics: Sequence[str] = [each.name for each in TOPICS]
    there = kafka.positions(config, dict.fromkeys(topics))
    numbers = {name: sum(each.topic == name for each in there) for name in topics}
    return {
        (each.topic, each.partition): _Span(each.begin, each.end)
        for each in there
        # A state lies in the partition of its tick, which whoever produces ticks has chosen.
        if ticker is None
        or each.topic == SIGNAL_STATE.name
        or each.partition == partition_of(ticker.encode(), numbers[each.topic])
    }


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(max(milliseconds, 0) / 1000, UTC)
