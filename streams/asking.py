"""Asking the ensembles: all at once, each about its whole part of a batch, and none for ever.

While a batch waits, all partitions stand still. So an ensemble that does not answer is waited for a while, and from
then on, until it answers again, hardly at all; and what the others say is handed on as soon as they have said it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import structlog

from schemas.codec import Tick
from serving.answer import FeatureBatch, Part
from serving.replica import NotServing
from streams.decision import Sheet
from streams.heartbeats import Pulse
from streams.leaving import farewell
from streams.memory import Place
from streams.routes import Route
from streams.source import Record
from streams.tasks import cancel
from streams.triage import TickRules

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
PATIENCE = timedelta(seconds=20)
"""How long an ensemble is waited for: its replica may have died, and starts again. Never longer than half of the time
to live, so that ticks that come meanwhile can still be answered by the others."""
GLANCE = timedelta(seconds=2)
"""How long one is waited for that did not answer the last time, or that is not needed."""
HARDLY = timedelta(seconds=0.2)
"""How long one is waited for of which both is true."""


Answer = tuple[tuple[Part, ...] | None, datetime]
"""The parts of an answer, None where none has come in time; and when that was."""


class Answerer(Protocol):
    """Whoever asks an ensemble, or its challenger."""

    async def answer(self, slot: str, batch: FeatureBatch) -> tuple[Part, ...]:
        """One answer a row, in parts that are of one version each.

        Raises:
            NotServing: nobody answers there now; somebody may a moment later.
        """
        ...


class Asked(NamedTuple):
    """A tick that one ensemble owes an answer."""

    tick: Tick
    record: Record
    route: Route
    place: Place


class Said(NamedTuple):
    """What an ensemble said to a tick, in which row of its answer, and when; None: nothing while it was waited for."""

    sheet: Sheet | None
    row: int
    at: datetime


class Asking:
    """Asks ensembles, and remembers which of them do not answer.

    Args:
        answerer: asks one of them.
        rules: how long a live tick can be acted on, and how far outside their range features may lie.
        pulse: is told which ensembles do not answer.
        clock: the time.
    """

    def __init__(
        self, answerer: Answerer, rules: TickRules, clock: Callable[[], datetime], pulse: Pulse | None = None
    ) -> None:
        self._answerer = answerer
        self._rules = rules
        self._clock = clock
        self._pulse = pulse or Pulse()
        self._silent: set[tuple[str, bool]] = set()

    async def about(self, asked: Sequence[Asked]) -> AsyncGenerator[dict[int, Said], None]:
        """What is said to each tick, by its place in `asked`: in parts, each as soon as some ensembles have answered.

        Close it (`contextlib.aclosing`) where it is not read to its end.
        """
        asking = {asyncio.ensure_future(self._heard(asked, places)) for places in _by_role(asked)}
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                yield {place: said for each in done for place, said in each.result().items()}
        finally:
            await cancel(asking)

    async def _heard(self, asked: Sequence[Asked], places: Sequence[int]) -> dict[int, Said]:
        """What one ensemble says to the ticks in these places, or its challenger."""
        route = asked[places[0]].route
        role, groups = (route.slot, route.aside), _alike(asked, places)
        ticks = [asked[place].tick for place in places]
        batches = [features_of([asked[place].tick for place in group], self._rules.margin) for group in groups]
        answers: list[Answer]
        if route.left is None:
            patience = self._patience(role, ticks, needed=not route.on_trial)
            answers = await asyncio.gather(*(self._answer(route.slot, batch, patience) for batch in batches))
        else:
            answers = [((Part.whole(farewell(route.left, batch)),), self._clock()) for batch in batches]
        if any(parts is None for parts, _ in answers):
            self._silent.add(role)
            if route.on_trial and not route.aside:
                answers = await self._by_champion(route, batches, answers, ticks)
        else:
            self._silent.discard(role)
        self._pulse.silent(frozenset(slot for slot, aside in self._silent if not aside))
        return {
            place: said
            for group, (parts, at) in zip(groups, answers, strict=True)
            for place, said in _said(group, parts, at)
        }

    async def _by_champion(
        self, route: Route, batches: Sequence[FeatureBatch], answers: Sequence[Answer], ticks: Sequence[Tick]
    ) -> list[Answer]:
        """What the champion says where its challenger was to be heard, and does not answer."""
        patience = self._patience((route.ensemble, False), ticks, needed=True)
        return [
            found if found[0] is not None else await self._answer(route.ensemble, batch, patience)
            for batch, found in zip(batches, answers, strict=True)
        ]

    def _patience(self, role: tuple[str, bool], ticks: Sequence[Tick], *, needed: bool) -> timedelta:
        """How long an answer to any of these ticks is worth waiting for; who is not needed holds nobody up."""
        if needed:
            longest = GLANCE if role in self._silent else min(PATIENCE, self._rules.ttl / 2)
        else:
            longest = HARDLY if role in self._silent else GLANCE
        now = self._clock()
        left = (tick.available_at + self._rules.ttl - now if tick.mode == "live" else longest for tick in ticks)
        return min(longest, max(left))

    async def _answer(self, slot: str, batch: FeatureBatch, patience: timedelta) -> Answer:
        """The answer, None where none has come in time; and when that was."""
        until = self._clock() + patience
        with suppress(TimeoutError):
            # Whoever is asked may wait for a replica for as long as there is none.
            async with asyncio.timeout(patience.total_seconds()):
                while self._clock() < until:
                    try:
                        return await self._answerer.answer(slot, batch), self._clock()
                    except NotServing as error:
                        log.warning("ensemble_is_not_serving", ensemble=slot, error=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
        log.error("ensemble_does_not_answer", ensemble=slot, ticks=len(batch.tickers))
        return None, self._clock()


def _said(group: Sequence[int], parts: Sequence[Part] | None, at: datetime) -> Iterator[tuple[int, Said]]:
    """What was said to each of a group's ticks, by its place; None: nothing."""
    if parts is None:
        yield from ((place, Said(None, row, at)) for row, place in enumerate(group))
        return
    for part in parts:
        sheet = Sheet(part.answer)
        for row, number in enumerate(part.rows.tolist()):
            yield group[number], Said(sheet, row, at)


def _by_role(asked: Sequence[Asked]) -> list[list[int]]:
    """The places of those who are asked together: what is heard never waits for what is not."""
    roles: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for place, each in enumerate(asked):
        roles[each.route.slot, each.route.aside].append(place)
    return list(roles.values())


def _alike(asked: Sequence[Asked], places: Sequence[int]) -> list[list[int]]:
    """Which of one ensemble's ticks can be asked about together: those of one timeframe and set of feature names."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for place in places:
        tick = asked[place].tick
        groups[tick.timeframe, tuple(tick.features)].append(place)
    return list(groups.values())


def features_of(ticks: Sequence[Tick], margin: float | None = None) -> FeatureBatch:
    """Ticks of one timeframe and one set of feature names, as an ensemble is asked about them."""
    names = tuple(ticks[0].features)
    matrix = np.array([list(tick.features.values()) for tick in ticks], dtype=np.float64)
    return FeatureBatch(
        timeframe=ticks[0].timeframe,
        tickers=tuple(tick.ticker for tick in ticks),
        names=names,
        matrix=matrix.reshape(len(ticks), len(names)),
        event_time=np.array([tick.event_time.replace(tzinfo=None) for tick in ticks], dtype="datetime64[us]"),
        bound=np.array([tick.mode != "replay" for tick in ticks], dtype=np.bool_),
        margin=margin,
    )
