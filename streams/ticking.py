"""The tick path: a batch of ticks in, their signals out.

Gather (decode, sort by what was answered before), ask each ensemble once for the whole batch, decide, publish; what one
ensemble says does not wait for the others, and while a batch is on its way to the broker, the next is decided. A batch
is finished only when its signals, then their states, are with the broker: whatever breaks off earlier is read again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, Protocol

import structlog

from orchestrator.core.abstaining import too_old
from orchestrator.core.calendar import Calendar
from orchestrator.core.errors import Refused
from orchestrator.core.halting import Effect
from schemas.base import Mode, Reason
from schemas.codec import Tick, WireSignal, read_tick, write_signal
from schemas.envelope import Undecodable, encode, written_headers
from schemas.signals import TickSkipped
from schemas.topics import SIGNALS_BY_MODE
from streams.asking import Answerer, Asked, Asking, Said
from streams.dead_letters import dead_letter
from streams.decision import Moment, decide, must_be_flat, written
from streams.delivery import Delivery
from streams.heartbeats import Pulse
from streams.memory import Answered, Place, SignalMemory, state_record
from streams.metrics import DEAD_LETTERS, SIGNAL_SECONDS, SIGNALS, SKIPS, TICKS
from streams.publisher import Outgoing
from streams.routes import Route, Routes, heard_on
from streams.source import Record
from streams.triage import SKIPPED, TickRules, Triage, before, fault_of_clock, has_expired, triage

log = structlog.get_logger(__name__)

GRACE = timedelta(seconds=60)
"""How long past the next bar's close a signal stays valid: the time the next one may take."""
TOPICS = {mode: topic.name for mode, topic in SIGNALS_BY_MODE.items()}

Skipped = Literal["late", "ttl", "conflated", "dead_letter"]


class Halting(Protocol):
    """Whoever knows the halts."""

    def on(self, ensemble: str, ticker: str, now: datetime) -> Effect | None:
        """What an ensemble's position in a ticker is under now; None: nothing."""
        ...


@dataclass
class Outbound:
    """What a batch has to say."""

    signals: list[Outgoing] = field(default_factory=list)
    states: dict[Place, tuple[bytes, Answered, int]] = field(default_factory=dict)
    """Of each place the newest signal, what is remembered of it, and the partition of its tick."""
    dead: list[Outgoing] = field(default_factory=list)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Signals by what they say and on which topic they say it."""
    newest: dict[tuple[int, str], datetime] = field(default_factory=dict)
    """By partition and timeframe, the bar that was answered live last."""
    slowest: timedelta = timedelta()
    """From the `available_at` of a live tick to its signal, at most."""


class TickPath:
    """Turns batches of tick records into signals.

    Args:
        answerer: asks the ensembles.
        routes: which ensembles cover a tick.
        memory: what was answered before.
        delivery: takes signals to the broker.
        calendar: says when the next bar closes.
        rules: which ticks are answered, and when an ensemble must abstain.
        controls: the halts. They do not act on replays, which are to say what would have been said.
        pulse: is told how far the ticks are answered.
        clock: the time.
        source: the CloudEvents source.
    """

    def __init__(
        self,
        *,
        answerer: Answerer,
        routes: Routes,
        memory: SignalMemory,
        delivery: Delivery,
        calendar: Calendar,
        rules: TickRules,
        controls: Halting,
        pulse: Pulse,
        clock: Callable[[], datetime],
        source: str,
    ) -> None:
        self._asking = Asking(answerer, rules, clock, pulse)
        self._routes = routes
        self._memory = memory
        self._delivery = delivery
        self._rules = rules
        self._clock = clock
        self._source = source.encode()
        self._calendar = calendar
        self._controls = controls
        self._pulse = pulse
        self._valid_until = lru_cache(maxsize=4096)(self._next_valid_until)
        self._session = lru_cache(maxsize=4096)(calendar.session_close)
        self._deciding = asyncio.Lock()

    async def take(self, records: Sequence[Record]) -> None:
        """Answer every tick of a batch, after those of the batch before; a broker that does not answer is waited for.

        What was decided stands, however long the broker takes: decided again, with another clock, the same tick could
        be given another answer under the same id.
        """
        on_their_way: list[asyncio.Task[None]] = []
        out = Outbound()
        # While the ensembles are asked about the batch before.
        ticks = self._read(records, out)
        async with self._deciding:
            asked = self._gather(records, ticks, out)
            async with aclosing(self._asking.about(asked)) as parts:
                async for said in parts:
                    for place in sorted(said):
                        self._decide(asked[place], said[place], out)
                    on_their_way.append(self._send(out))
                    out = Outbound()
            on_their_way.append(self._send(out))
            on_their_way.append(asyncio.create_task(self._delivery.finish(records)))
        await asyncio.gather(*on_their_way)

    def _send(self, out: Outbound) -> asyncio.Task[None]:
        """Have a part of a batch published, after what was sent before it; signals before their states."""
        states = [state_record(place, *state) for place, state in out.states.items()]
        for (signal, mode), count in out.told.items():
            SIGNALS.labels(signal, mode).inc(count)
        if out.slowest:
            SIGNAL_SECONDS.observe(out.slowest.total_seconds())
        for (partition, timeframe), moment in out.newest.items():
            self._pulse.answered(partition, timeframe, moment)
        return asyncio.create_task(self._delivery.send([*out.dead, *out.signals], states))

    def _gather(self, records: Sequence[Record], ticks: Sequence[tuple[Record, Tick]], out: Outbound) -> list[Asked]:
        now = self._clock()
        asked: list[Asked] = []
        seen: dict[Place, Answered] = {}
        outcomes: Counter[str] = Counter()
        lags = self._rules.conflates_from is not None and len(records) >= self._rules.conflates_from
        newest = _newest(ticks) if lags else {}
        for record, tick in ticks:
            conflated = lags and newest[tick.ticker, tick.timeframe, tick.mode] != (tick.event_time, tick.revision)
            covering = self._concerned(tick)
            outcomes["covered" if covering else "uncovered"] += 1
            for route in covering:
                place = _place(route.ensemble, tick, route.mode)
                each = Asked(tick, record, route, place)
                known = self._memory.newest(place)
                verdict = triage(tick, seen.get(place) or known, now=now, rules=self._rules)
                if verdict is Triage.LATE and known is not None and known.knows(record.partition, record.offset):
                    verdict = Triage.REPEAT
                if verdict is not Triage.FRESH:
                    self._pass_over(each, verdict, now, out)
                elif conflated:
                    self._skip(tick, record, route, "conflated", now, out)
                else:
                    asked.append(each)
                    seen[place] = Answered(tick.event_time, tick.revision, "", 0, 0)
        for outcome, count in outcomes.items():
            TICKS.labels(outcome).inc(count)
        return asked

    def _read(self, records: Sequence[Record], out: Outbound) -> list[tuple[Record, Tick]]:
        """The final ticks of a batch; what is none goes to the dead letters alone."""
        now = self._clock()
        ticks: list[tuple[Record, Tick]] = []
        for record in records:
            try:
                tick = read_tick(record.value)
            except Undecodable as error:
                self._bury(record, error.reasons, now, out)
                continue
            if not tick.is_final:
                TICKS.labels("not_final").inc()
            elif faults := self._faults_of_time(tick, now):
                self._bury(record, faults, now, out)
                self._skip(tick, record, None, "dead_letter", now, out)
            else:
                ticks.append((record, tick))
        return ticks

    def _concerned(self, tick: Tick) -> list[Route]:
        """The ensembles that answer a tick: those that serve, and those that were deleted and still hold something."""
        return [
            route
            for route in self._routes.covering(tick.ticker, tick.timeframe)
            if (route.left is None or self._holds(_place(route.ensemble, tick, route.mode)))
            and route.answers(tick.mode)
        ]

    def _holds(self, place: Place) -> bool:
        newest = self._memory.newest(place)
        return newest is not None and newest.position != 0

    def _faults_of_time(self, tick: Tick, now: datetime) -> tuple[Reason, ...]:
        fault = fault_of_clock(tick, now)
        if fault is not None:
            return (fault,)
        try:
            self._valid_until(tick.event_time, tick.timeframe)
        except Refused as refused:
            return refused.reasons
        return ()

    def _next_valid_until(self, event_time: datetime, timeframe: str) -> datetime:
        return self._calendar.next_close(event_time, timeframe) + GRACE

    def _decide(self, each: Asked, said: Said, out: Outbound) -> None:
        tick, sheet, now = each.tick, said.sheet, said.at
        if sheet is None:
            self._skip(tick, each.record, each.route, "ttl", now, out)
            return
        answer, record, place = sheet.answer, each.record, each.place
        newest, heard = self._memory.newest(place), each.route.heard(answer.served)
        if heard != each.route.mode:
            # The version that serves may be heard in another way than the one that did when the tick was gathered.
            place = _place(each.route.ensemble, tick, heard)
            newest = self._memory.newest(place)
            verdict = triage(tick, newest, now=now, rules=self._rules)
        else:
            verdict = Triage.EXPIRED if has_expired(tick, now, self._rules) else Triage.FRESH
        if verdict is not Triage.FRESH:
            self._pass_over(each, verdict, now, out)
            return
        mode = heard_on(heard, tick.mode)
        moment = Moment(
            now,
            self._valid_until(tick.event_time, tick.timeframe),
            must_be_flat(tick, answer, self._calendar),
            None if mode == "replay" else self._controls.on(place[0], tick.ticker, now),
            too_old(answer.trained_through, tick.event_time, self._rules.most_age),
            self._session(tick.event_time),
            (record.partition, record.offset),
            mode,
        )
        newest = before(tick, newest)
        if each.route.aside and newest is not None and newest.version != answer.served.version:
            # Another's trial is no part of its own.
            newest = newest._replace(position=0, position_before=0)
        signal, answered = decide(tick, sheet, said.row, newest, moment)
        self._memory.remember(place, answered)
        value = write_signal(signal)
        out.signals.append(self._outgoing(signal, signal.id, signal.emitted_at, record, value))
        out.states[place] = (value, answered, record.partition)
        out.told[signal.signal, mode] += 1
        if mode == "live":
            out.newest[record.partition, tick.timeframe] = tick.event_time
        if tick.mode == "live" and (took := now - tick.available_at) > out.slowest:
            out.slowest = took

    def _pass_over(self, each: Asked, verdict: Triage, now: datetime, out: Outbound) -> None:
        if verdict in SKIPPED:
            self._skip(each.tick, each.record, each.route, SKIPPED[verdict], now, out)
        else:
            TICKS.labels("repeat").inc()

    def _outgoing(
        self, message: WireSignal | TickSkipped, identity: str, time: str, cause: Record, value: bytes
    ) -> Outgoing:
        headers = written_headers(identity, message.TYPE, self._source, time.encode(), cause.traceparent)
        return Outgoing(TOPICS[message.mode], message.ticker.encode(), value, headers)

    def _skip(
        self, tick: Tick, record: Record, route: Route | None, reason: Skipped, now: datetime, out: Outbound
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
        out.signals.append(self._outgoing(skipped, identity, written(now), record, encode(skipped)))
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


def _place(ensemble: str, tick: Tick, mode: Mode) -> Place:
    return ensemble, tick.ticker, tick.timeframe, heard_on(mode, tick.mode)


def _newest(ticks: Sequence[tuple[Record, Tick]]) -> dict[tuple[str, str, Mode], tuple[datetime, int]]:
    """The newest bar and revision of each instrument, timeframe and mode."""
    newest: dict[tuple[str, str, Mode], tuple[datetime, int]] = {}
    for _, tick in ticks:
        line, bar = (tick.ticker, tick.timeframe, tick.mode), (tick.event_time, tick.revision)
        newest[line] = max(bar, newest.get(line, bar))
    return newest
