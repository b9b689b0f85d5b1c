"""The kill switch in the worker: every worker follows the whole topic `control`, one of them keeps it in order."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import structlog

from orchestrator.core.halting import Effect, Order, effect, first_expiry, in_effect, replaces
from schemas.base import Reason
from schemas.control import Halt
from schemas.envelope import Undecodable, decode
from schemas.topics import CONTROL, Topic
from streams.dead_letters import dead_letter
from streams.metrics import DEAD_LETTERS, HALTS
from streams.publisher import Outgoing, Publishing
from streams.reader import TopicReader
from streams.repeating import OnFailure, Repeating
from streams.source import Record

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5


def order_in(record: Record) -> Order:
    """The halt or lift that a record of `control` holds.

    Raises:
        Undecodable: it holds none, or its key is another scope's: there it would take the place of what that scope is
            under (`key_is_not_scope`).
    """
    order: Order = decode(CONTROL.messages, record.value)
    if record.key != order.scope.encode():
        message = f"the record's key must be its scope, {order.scope}: the topic keeps the newest record of a key"
        raise Undecodable((Reason(code="key_is_not_scope", where="/scope", message=message),))
    return order


@lru_cache(maxsize=1024)
def reason(found: Effect) -> Reason:
    """What a signal says of the halt that it is under."""
    return Reason(
        code=found.action, message=f"{found.scope} is halted, {found.action} of epoch {found.epoch}: {found.reason}"
    )


@dataclass(frozen=True)
class _Standing:
    """The message that stands of a scope, and the record that holds it."""

    order: Order
    record: Record


class Controls(Repeating):
    """Follows `control` from its beginning, without a group: each worker knows every halt once it has started.

    Args:
        config: librdkafka's connection settings.
        clock: the time, by which halts expire.
        on_failure: called with the error that ends it: a worker that follows no halts must not answer ticks.
        topic: where halts are.
    """

    def __init__(
        self,
        config: dict[str, Any],
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        topic: Topic = CONTROL,
    ) -> None:
        super().__init__(on_failure)
        self._config = config
        self._clock = clock
        self._topic = topic
        # One thread owns the reader, from its opening to its close.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="controls")
        self._reader: TopicReader | None = None
        self._standing: dict[str, _Standing] = {}
        self._read: dict[int, int] = {}
        self._on_read = asyncio.Condition()
        self._halts: dict[str, Halt] = {}
        self._until: datetime | None = None
        self._effects: dict[tuple[str, str], Effect | None] = {}
        self.changed = asyncio.Event()
        """Set whenever another halt is in effect by a message; whoever waits for it clears it."""

    def on(self, ensemble: str, ticker: str, now: datetime) -> Effect | None:
        """What an ensemble's position in a ticker is under now; None: nothing. Cheap enough to ask for every tick."""
        if not self._halts:
            return None
        if self._until is not None and now >= self._until:
            self._weigh(now)
        place = (ensemble, ticker)
        if place not in self._effects:
            self._effects[place] = effect(self._halts, ensemble, ticker)
        return self._effects[place]

    def halts(self, now: datetime) -> tuple[Halt, ...]:
        """Every halt in effect, by scope."""
        self._weigh(now)
        return tuple(self._halts.values())

    async def on_started(self) -> None:
        """Read all that is there, then go on following.

        Raises:
            KafkaException: the broker does not answer, or has no such topic.
        """
        await self._take(await self._in_thread(self._open))
        log.info("controls_read", halted=[*self._halts])
        await super().on_started()

    async def on_stop(self) -> None:
        """Follow no more."""
        await super().on_stop()
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def turn(self) -> None:
        """Take what is new."""
        for order in await self._take(await self._in_thread(self._poll)):
            log.warning("control_changed", **order.model_dump(mode="json", exclude={"schema_version"}))

    async def displaced(self, record: Record) -> Record | None:
        """The record that stands for the scope that another record's key names, where that one was written after it.

        Compaction would keep the newer of the two alone, though it changes nothing: it is of an older epoch, no control
        at all, or a tombstone. Returns when the record has been followed.
        """
        async with self._on_read:
            await self._on_read.wait_for(lambda: self._read.get(record.partition, -1) >= record.offset)
        found = self._standing.get((record.key or b"").decode(errors="replace"))
        if found is None or found.record.partition != record.partition or found.record.offset >= record.offset:
            return None
        return found.record

    async def _take(self, records: Sequence[Record]) -> list[Order]:
        """Take records in; what was not known before."""
        news = [order for record in records if (order := self._learnt(record))]
        if news:
            self._weigh(self._clock())
            self.changed.set()
        async with self._on_read:
            self._on_read.notify_all()
        return news

    def _learnt(self, record: Record) -> Order | None:
        self._read[record.partition] = max(record.offset, self._read.get(record.partition, -1))
        try:
            order = order_in(record)
        except Undecodable:
            # Whoever keeps the topic buries it.
            return None
        known = self._standing.get(order.scope)
        if not replaces(order, None if known is None else known.order):
            return None
        self._standing[order.scope] = _Standing(order, record)
        return None if known is not None and known.order == order else order

    def _weigh(self, now: datetime) -> None:
        self._halts = in_effect({scope: found.order for scope, found in self._standing.items()}, now)
        self._until = first_expiry(self._halts)
        self._effects = {}
        HALTS.set(len(self._halts))

    def _open(self) -> list[Record]:
        self._reader = TopicReader(self._config, [self._topic]).__enter__()
        return self._reader.read_to_end()

    def _poll(self) -> list[Record]:
        assert self._reader is not None
        return self._reader.read(POLL_SECONDS)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class Custody:
    """Keeps `control` in order, for all workers: the work of its consumer group.

    What is no control goes to the dead letters. And where anything displaces what stands, that is written again, so
    that compaction, and with it the next restart, never forgets a halt.

    Args:
        controls: what stands.
        publisher: where dead letters go, and what is written again.
        clock: the time.
    """

    def __init__(self, controls: Controls, publisher: Publishing, clock: Callable[[], datetime]) -> None:
        self._controls = controls
        self._publisher = publisher
        self._clock = clock

    async def take(self, records: Sequence[Record]) -> None:
        """See to the records of a batch, in order.

        Raises:
            NotDelivered: something was not acknowledged; the batch is taken again.
        """
        for record in records:
            try:
                order_in(record)
            except Undecodable as fault:
                await self._publisher.publish([dead_letter(record, fault.reasons, self._clock())])
                DEAD_LETTERS.labels(record.topic).inc()
                log.warning("control_refused", offset=record.offset, reasons=[*map(str, fault.reasons)])
            found = await self._controls.displaced(record)
            if found is not None:
                await self._publisher.publish(
                    [Outgoing(found.topic, found.key, found.value, found.headers, found.partition)]
                )
                log.warning("control_written_again", scope=(found.key or b"").decode(), displaced_by=record.offset)
