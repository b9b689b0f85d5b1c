"""Heartbeats: every few seconds, on each partition of signals whose ticks this worker reads, that it lives and how."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Literal, Protocol

import structlog
from confluent_kafka import KafkaException

from orchestrator.core.halting import EVERYTHING
from schemas.base import format_instant
from schemas.control import Halt
from schemas.envelope import encode, headers_of
from schemas.signals import HaltInEffect, Heartbeat, NewestTick, ServingVersion
from schemas.topics import SIGNALS, Topic
from schemas.trace_context import SPAN_ID_BYTES, TRACE_ID_BYTES, begin_trace
from serving.version import ServedVersion
from streams.controls import Controls
from streams.kafka import Position
from streams.progress import Progress
from streams.publisher import NotDelivered, Outgoing, Publishing
from streams.repeating import OnFailure, Repeating

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 5.0
MEASURE_SECONDS = 1.0
"""How long a heartbeat waits for the lag; past it, the last one known is told."""
STALE = timedelta(seconds=15)
"""Three heartbeats: so long may ticks wait without one being handled, and so old may what is known of the lag be."""
State = Literal["live", "degraded", "stale", "halted"]


class Measuring(Protocol):
    """Whoever knows how far behind the service is; its calls block."""

    def of(self, partitions: Iterable[int]) -> list[Position]:
        """Where some partitions of ticks are.

        Raises:
            KafkaException: the broker does not answer.
        """
        ...

    def close(self) -> None:
        """Ask no more."""
        ...


class Pulse:
    """What the tick path tells of itself for the heartbeats."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, str], datetime] = {}
        self._silent: frozenset[str] = frozenset()

    def answered(self, partition: int, timeframe: str, event_time: datetime) -> None:
        """The newest bar of a timeframe that a batch has answered on a partition."""
        place = (partition, timeframe)
        self._newest[place] = max(event_time, self._newest.get(place, event_time))

    def silent(self, ensembles: frozenset[str]) -> None:
        """These ensembles do not answer now; all others do."""
        self._silent = ensembles

    @property
    def degraded(self) -> bool:
        """Whether an ensemble does not answer."""
        return bool(self._silent)

    def newest(self, partition: int) -> tuple[NewestTick, ...]:
        """The newest bar answered on a partition, by timeframe."""
        return tuple(
            NewestTick(timeframe=timeframe, event_time=moment)
            for (number, timeframe), moment in sorted(self._newest.items())
            if number == partition
        )

    def keep(self, partitions: Set[int]) -> None:
        """Forget the other partitions: another worker answers there now."""
        self._newest = {place: moment for place, moment in self._newest.items() if place[0] in partitions}


def state_of(progress: Progress | None, now: datetime, *, halted: bool, silent: bool) -> State:
    """How a partition is.

    Args:
        progress: how far it is handled; None: not known yet.
        now: the time.
        halted: everything is.
        silent: an ensemble does not answer.
    """
    if halted:
        return "halted"
    if progress is None or now - progress.said_at > STALE:
        return "degraded"
    if progress.lag > 0 and now - progress.moved_at > STALE:
        return "stale"
    return "degraded" if silent else "live"


class Heartbeats(Repeating):
    """Beats every five seconds, and at once when another halt is in effect, whatever the tick path is about.

    Args:
        measuring: of the lag; it is closed with this.
        publisher: of its own, so that it waits for nobody's signals.
        controls: the halts.
        pulse: what the tick path tells.
        assigned: partitions of ticks that this worker reads.
        serving: versions that serve.
        instance: which worker this is.
        clock: the time.
        source: the CloudEvents source.
        on_failure: called with the error that ends it.
        topic: the signals.
    """

    def __init__(
        self,
        *,
        measuring: Measuring,
        publisher: Publishing,
        controls: Controls,
        pulse: Pulse,
        assigned: Callable[[], Set[int]],
        serving: Callable[[], Sequence[ServedVersion]],
        instance: str,
        clock: Callable[[], datetime],
        source: str,
        on_failure: OnFailure,
        topic: Topic = SIGNALS,
    ) -> None:
        super().__init__(on_failure)
        self._measuring = measuring
        self._publisher = publisher
        self._controls = controls
        self._pulse = pulse
        self._assigned = assigned
        self._serving = serving
        self._instance = instance
        self._clock = clock
        self._source = source
        self._topic = topic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="heartbeats")
        self._measured: asyncio.Future[list[Position]] | None = None
        self._progress: dict[int, Progress] = {}

    async def turn(self) -> None:
        """Beat once; where the broker does not take it, the next one tells more."""
        began = time.monotonic()
        self._controls.changed.clear()
        partitions = frozenset(self._assigned())
        await self._measure(partitions)
        self._pulse.keep(partitions)
        self._progress = {number: found for number, found in self._progress.items() if number in partitions}
        now = self._clock()
        halts = self._controls.halts(now)
        beats = [self._beat(number, halts, now) for number in sorted(partitions)]
        try:
            await self._publisher.publish(beats)
        except (NotDelivered, KafkaException) as error:
            log.warning("heartbeat_not_delivered", error=str(error))
        rest = PERIOD_SECONDS - (time.monotonic() - began)
        await self.pause(max(0.0, rest), until=self._controls.changed)

    async def on_stop(self) -> None:
        """Beat no more."""
        await super().on_stop()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._measuring.close)
        self._thread.shutdown()

    async def _measure(self, partitions: Set[int]) -> None:
        """Take in how far the partitions are; a broker that is slow to say so is not waited for."""
        if self._measured is None:
            self._measured = asyncio.get_running_loop().run_in_executor(self._thread, self._measuring.of, partitions)
        await asyncio.wait({self._measured}, timeout=MEASURE_SECONDS)
        if not self._measured.done():
            return
        try:
            found = self._measured.result()
        except KafkaException as error:
            log.warning("lag_unknown", error=str(error.args[0]))
            found = []
        self._measured = None
        now = self._clock()
        for each in found:
            known, handled = self._progress.get(each.partition), each.handled or 0
            self._progress[each.partition] = (
                Progress.first(handled, each.lag, now) if known is None else known.then(handled, each.lag, now)
            )

    def _beat(self, partition: int, halts: Sequence[Halt], now: datetime) -> Outgoing:
        progress = self._progress.get(partition)
        halted = any(halt.scope == EVERYTHING for halt in halts)
        heartbeat = Heartbeat(
            instance=self._instance,
            partition=partition,
            emitted_at=now,
            state=state_of(progress, now, halted=halted, silent=self._pulse.degraded),
            lag=0 if progress is None else progress.lag,
            newest=self._pulse.newest(partition),
            serving=tuple(
                ServingVersion(ensemble=each.ensemble, version=each.version, digest=each.digest)
                for each in self._serving()
            ),
            halts=tuple(
                HaltInEffect(scope=halt.scope, action=halt.action, epoch=halt.epoch, expires_at=halt.expires_at)
                for halt in halts
            ),
        )
        identity = f"{self._instance}:{partition}:{format_instant(now)}"
        trace = begin_trace(hashlib.sha256(identity.encode()).digest()[: TRACE_ID_BYTES + SPAN_ID_BYTES])
        headers = headers_of(heartbeat, message_id=identity, source=self._source, time=now, traceparent=str(trace))
        return Outgoing(self._topic.name, None, encode(heartbeat), tuple(headers), partition)
