"""The tick path: a batch of ticks in, their signals out.

Gather (decode, sort by what was answered before), ask each ensemble once for the whole batch, decide, publish; what one
ensemble says does not wait for the others. A batch is finished only when its signals, then their states, are with the
broker: whatever breaks off earlier is read again.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

import structlog

from orchestrator.core.calendar import Calendar
from orchestrator.core.errors import Refused
from schemas.base import Mode, Reason
from schemas.envelope import Undecodable, decode, encode, headers_of
from schemas.signals import Signal, TickSkipped
from schemas.ticks import FeatureTick
from schemas.topics import SIGNALS_BY_MODE
from streams.asking import Answerer, Asked, Asking, Said
from streams.dead_letters import dead_letter
from streams.decision import Moment, decide, must_be_flat
from streams.memory import Answered, Place, SignalMemory, state_record
from streams.metrics import DEAD_LETTERS, SIGNAL_SECONDS, SIGNALS, SKIPS, TICKS
from streams.publisher import NotDelivered, Outgoing, Publishing
from streams.routes import Route, Routes, heard_on
from streams.source import Record
from streams.triage import SKIPPED, TickRules, Triage, before, fault_of_clock, triage

log = structlog.get_logger(__name__)

GRACE = timedelta(seconds=60)
"""How long past the next bar's close a signal stays valid: the time the next one may take."""
RETRY_SECONDS = 1.0
"""How long a broker is left alone that did not acknowledge."""


@dataclass
class Outbound:
    """What a batch has to say."""

    signals: list[Outgoing] = field(default_factory=list)
    states: list[Outgoing] = field(default_factory=list)
    dead: list[Outgoing] = field(default_factory=list)
    answered: dict[Place, Answered] = field(default_factory=dict)


class TickPath:
    """Turns batches of tick records into signals.

    Args:
        answerer: asks the ensembles.
        routes: which ensembles cover a tick.
        memory: what was answered before.
        publisher: where signals go.
        calendar: says when the next bar closes.
        rules: how old a tick may be.
        clock: the time.
        source: the CloudEvents source.
    """

    def __init__(
        self,
        *,
        answerer: Answerer,
        routes: Routes,
        memory: SignalMemory,
        publisher: Publishing,
        calendar: Calendar,
        rules: TickRules,
        clock: Callable[[], datetime],
        source: str,
    ) -> None:
        self._asking = Asking(answerer, rules.ttl, clock)
        self._routes = routes
        self._memory = memory
        self._publisher = publisher
        self._rules = rules
        self._clock = clock
        self._source = source
        self._calendar = calendar
        self._next_close = lru_cache(maxsize=4096)(calendar.next_close)

    async def take(self, records: Sequence[Record]) -> None:
        """Answer every tick of a batch; a broker that does not acknowledge is waited for."""
        out = Outbound()
        asked = self._gather(records, out)
        async with aclosing(self._asking.about(asked)) as parts:
            async for said in parts:
                for place in sorted(said):
                    self._decide(asked[place], said[place], out)
                await self._deliver(out)
                out = Outbound()
        await self._deliver(out)

    async def _deliver(self, out: Outbound) -> None:
        """Publish what was decided, signals before states, and remember it.

        What was decided stands, however long the broker takes: decided again, with another clock, the same tick could
        be given another answer under the same id.
        """
        for records in ([*out.dead, *out.signals], out.states):
            while True:
                try:
                    await self._publisher.publish(records)
                except NotDelivered as error:
                    log.error("not_delivered", topics=error.topics, missing=error.missing, cause=error.cause)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    break
        self._memory.remember(out.answered)

    def _gather(self, records: Sequence[Record], out: Outbound) -> list[Asked]:
        now = self._clock()
        asked: list[Asked] = []
        seen: dict[Place, Answered] = {}
        for record in records:
            try:
                tick: FeatureTick = decode(FeatureTick, record.value)
            except Undecodable as error:
                self._bury(record, error.reasons, now, out)
                continue
            if not tick.is_final:
                TICKS.labels("not_final").inc()
                continue
            if faults := self._faults_of_time(tick, now):
                self._bury(record, faults, now, out)
                self._skip(tick, record, None, "dead_letter", now, out)
                continue
            covering = self._concerned(tick)
            TICKS.labels("covered" if covering else "uncovered").inc()
            for route in covering:
                each, place = Asked(tick, record, route), _place(route.ensemble, tick, route.mode)
                verdict = triage(tick, seen.get(place) or self._memory.newest(place), now=now, rules=self._rules)
                if verdict is Triage.FRESH:
                    asked.append(each)
                    seen[place] = Answered(tick.event_time, tick.revision, "", 0, 0)
                else:
                    self._pass_over(each, verdict, now, out)
        return asked

    def _concerned(self, tick: FeatureTick) -> list[Route]:
        """The ensembles that answer a tick: those that serve, and those that were deleted and still hold something."""
        return [
            route
            for route in self._routes.covering(tick.ticker, tick.timeframe)
            if route.left is None or self._holds(_place(route.ensemble, tick, route.mode))
        ]

    def _holds(self, place: Place) -> bool:
        newest = self._memory.newest(place)
        return newest is not None and newest.position != 0

    def _faults_of_time(self, tick: FeatureTick, now: datetime) -> tuple[Reason, ...]:
        fault = fault_of_clock(tick, now)
        if fault is not None:
            return (fault,)
        try:
            self._next_close(tick.event_time, tick.timeframe)
        except Refused as refused:
            return refused.reasons
        return ()

    def _decide(self, each: Asked, said: Said, out: Outbound) -> None:
        tick, answer, now = each.tick, said.answer, said.at
        if answer is None:
            self._skip(tick, each.record, each.route, "ttl", now, out)
            return
        # Its mode is the serving version's, which may have become another's since the tick was gathered.
        place = _place(each.route.ensemble, tick, answer.served.mode)
        newest = before(tick, out.answered.get(place) or self._memory.newest(place))
        verdict = triage(tick, newest, now=now, rules=self._rules)
        if verdict is not Triage.FRESH:
            self._pass_over(each, verdict, now, out)
            return
        moment = Moment(
            now=now,
            valid_until=self._next_close(tick.event_time, tick.timeframe) + GRACE,
            must_be_flat=must_be_flat(tick, answer, self._calendar),
        )
        signal, answered = decide(tick, answer, said.row, newest, moment)
        out.answered[place] = answered
        out.signals.append(self._outgoing(signal, signal.id, each.record, now))
        out.states.append(state_record(signal, answered, each.record.partition))
        SIGNALS.labels(signal.signal, signal.mode).inc()
        if tick.mode == "live":
            SIGNAL_SECONDS.observe((now - tick.available_at).total_seconds())

    def _pass_over(self, each: Asked, verdict: Triage, now: datetime, out: Outbound) -> None:
        if verdict in SKIPPED:
            self._skip(each.tick, each.record, each.route, SKIPPED[verdict], now, out)
        else:
            TICKS.labels("repeat").inc()

    def _outgoing(self, message: Signal | TickSkipped, identity: str, cause: Record, now: datetime) -> Outgoing:
        headers = headers_of(
            message,
            message_id=identity,
            source=self._source,
            time=now,
            traceparent=str(cause.trace),
        )
        return Outgoing(SIGNALS_BY_MODE[message.mode].name, message.ticker.encode(), encode(message), tuple(headers))

    def _skip(
        self,
        tick: FeatureTick,
        record: Record,
        route: Route | None,
        reason: Literal["late", "ttl", "dead_letter"],
        now: datetime,
        out: Outbound,
    ) -> None:
        skipped = TickSkipped(
            ticker=tick.ticker,
            timeframe=tick.timeframe,
            event_time=tick.event_time,
            revision=tick.revision,
            ensemble=route.ensemble if route is not None else None,
            reason=reason,
            emitted_at=now,
            mode=heard_on(route.mode, tick.mode) if route is not None else tick.mode,
        )
        identity = f"{record.topic}:{record.partition}:{record.offset}:{skipped.ensemble or ''}"
        out.signals.append(self._outgoing(skipped, identity, record, now))
        SKIPS.labels(reason).inc()

    def _bury(self, record: Record, reasons: Sequence[Reason], now: datetime, out: Outbound) -> None:
        out.dead.append(dead_letter(record, reasons, now))
        DEAD_LETTERS.labels(record.topic).inc()
        log.warning(
            "tick_refused",
            partition=record.partition,
            offset=record.offset,
            reasons=[*map(str, reasons)],
            trace_id=record.trace.trace_id,
        )


def _place(ensemble: str, tick: FeatureTick, mode: Mode) -> Place:
    return ensemble, tick.ticker, tick.timeframe, heard_on(mode, tick.mode)
