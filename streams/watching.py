"""Detectors: one worker of all watches the live ticks of ensembles that have a policy, and keeps what it has seen.

How far it has read is written in the transaction of what it has seen, so that nothing counts twice or is left out,
whoever goes on after a crash. It shares the interpreter with the tick path, and takes a small part of the time: while
more ticks come than that is enough for, it is late, and catches up afterwards.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Self, TypeVar

import numpy as np
import structlog
from confluent_kafka import KafkaException
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.arrays import Floats
from orchestrator.core.drift import Profile, Watch
from orchestrator.store import watches
from orchestrator.store.database import Database
from orchestrator.store.watches import Champion, Numbered, Place, Spot
from schemas.codec import glimpse, look
from schemas.topics import FEATURE_TICKS, Topic
from streams.leading import Leadership, Leading
from streams.profiles import Profiles
from streams.reader import TopicReader
from streams.repeating import OnFailure
from streams.source import Record
from streams.triage import AHEAD_LIMIT

log = structlog.get_logger(__name__)

AT_ONCE = 8000
"""Ticks read in a turn."""
AT_A_STRETCH = 100
"""Ticks decoded before the tick path has its turn again."""
PAUSE_SECONDS = 1.0
SHARE = 0.08
"""Of the time, at most: a turn takes the longer the more the tick path has to do, which then has the longer pause."""
WAIT_MS = 500
AHEAD_KB = 16 * 1024
"""Ticks that are fetched ahead: those of a turn or two."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")
Instrument = tuple[str, str]
"""Ticker and timeframe."""


@dataclass
class Column:
    """Ticks of one instrument, in the order in which they came."""

    event_time: list[int] = field(default_factory=list)
    """Microseconds since 1970."""
    features: list[Mapping[str, float | None]] = field(default_factory=list)

    def add(self, event_time: datetime, features: Mapping[str, float | None]) -> None:
        """One tick more."""
        self.event_time.append((event_time - _EPOCH) // _MICROSECOND)
        self.features.append(features)

    def matrix(self, names: Sequence[str]) -> Floats:
        """The features of these names, one row a tick; NaN where one is not known."""
        try:
            pick = itemgetter(*names) if len(names) > 1 else lambda found: (found[names[0]],)
            rows = [pick(each) for each in self.features]
        except KeyError:
            rows = [tuple(each.get(name) for name in names) for each in self.features]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


class Detectors:
    """The watches, as the database has them.

    Whatever a call raises, they may differ from it then, and are to be opened again.
    """

    def __init__(self, database: Database, kept: Profiles, found: dict[Spot, Watch], read_to: dict[Place, int]) -> None:
        self.database = database
        self.read_to = read_to
        self.since: datetime | None = None
        """When the first one that is watched had a policy and served; None: nothing is watched."""
        self._kept = kept
        self._watches = found
        self._profiles: dict[Numbered, dict[Instrument, Profile]] = {}

    @classmethod
    async def open(cls, database: Database, kept: Profiles) -> Self:
        """Read everything."""
        async with database.snapshot() as tx:
            detectors = cls(database, kept, await watches.everything(tx), await watches.read(tx))
        await detectors.mind()
        return detectors

    async def mind(self) -> None:
        """Watch the versions that are to be watched now, and no others: those begin anew should they come back.

        Raises:
            LeaseLost: another worker watches.
        """
        async with self.database.snapshot() as tx:
            found = [each for each in await watches.champions(tx) if _is_watched(each)]
        wanted = {(each.ensemble, each.version) for each in found}
        self.since = min((each.since for each in found), default=None)
        if wanted != self._profiles.keys() or any(spot[:2] not in wanted for spot in self._watches):
            await self._change(wanted)

    async def take(self, records: Sequence[Record], now: datetime) -> None:
        """Take in the ticks among records that come after those taken before, and write what has changed.

        What is no tick of a final bar, is not live, or lies ahead of the clock, is passed over.

        Raises:
            LeaseLost: another worker watches; nothing was written.
        """
        if not records:
            return
        columns = await self._columns(records, now + AHEAD_LIMIT)
        changed: dict[Spot, Watch] = {}
        for (ensemble, version), profiles in self._profiles.items():
            for instrument in profiles.keys() & columns.keys():
                spot = (ensemble, version, instrument[0])
                changed[spot] = _watched(profiles[instrument], self._watches.get(spot) or Watch(), columns[instrument])
                await asyncio.sleep(0)
        read_to = {(each.topic, each.partition): each.offset + 1 for each in records}
        await self.begin(read_to, changed)
        self._watches |= changed

    async def begin(self, read_to: Mapping[Place, int], changed: Mapping[Spot, Watch] | None = None) -> None:
        """Whoever goes on does so from there."""

        async def save(tx: AsyncSession) -> None:
            await watches.save(tx, changed or {}, read_to)

        await self.database.commit(save)
        self.read_to |= read_to

    async def _change(self, wanted: set[Numbered]) -> None:
        profiles = {each: self._profiles.get(each) or await self._learned(*each) for each in wanted}

        async def forget(tx: AsyncSession) -> None:
            await watches.keep(tx, wanted)

        await self.database.commit(forget)
        self._profiles = profiles
        self._watches = {spot: watch for spot, watch in self._watches.items() if spot[:2] in wanted}
        if not wanted:
            self.read_to = {}

    async def _learned(self, ensemble: str, version: int) -> dict[Instrument, Profile]:
        """What a version's features were like in training, by instrument."""
        async with self.database.snapshot() as tx:
            manifest = await watches.manifest(tx, ensemble, version)
        found = await self._kept.of(ensemble, version, manifest)
        return {(ticker, manifest["timeframe"]): profile for ticker, profile in found.items()}

    async def _columns(self, records: Sequence[Record], latest: datetime) -> dict[Instrument, Column]:
        """The ticks of instruments that are watched, none of them of a bar that closes after `latest`."""
        watched = {instrument for profiles in self._profiles.values() for instrument in profiles}
        columns: dict[Instrument, Column] = defaultdict(Column)
        for number, record in enumerate(records, 1):
            tick = glimpse(record.value)
            if tick is not None and tick.place in watched and tick.is_final and tick.mode == "live":
                seen = look(tick)
                if seen is not None and seen[0] <= latest:
                    columns[tick.place].add(*seen)
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return columns


def _is_watched(champion: Champion) -> bool:
    return champion.policy.drift is not None or champion.policy.outliers is not None


def _watched(profile: Profile, watch: Watch, column: Column) -> Watch:
    event_time = np.array(column.event_time, dtype="datetime64[us]")
    after, _ = profile.watch(watch, event_time, column.matrix(profile.feature_names))
    return after


class Watching(Leading):
    """Keeps the watches while it leads.

    Args:
        config: librdkafka's connection settings.
        leadership: of the worker that does.
        kept: what features were like in training.
        clock: the time.
        on_failure: called with the error that ends it.
        topic: the ticks that are watched.
    """

    def __init__(
        self,
        config: dict[str, Any],
        leadership: Leadership,
        kept: Profiles,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        topic: Topic = FEATURE_TICKS,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._config = config | {"queued.max.messages.kbytes": AHEAD_KB}
        self._kept = kept
        self._clock = clock
        self._topic = topic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watching")
        self._reader: TopicReader | None = None
        self._detectors: Detectors | None = None

    async def act(self) -> None:
        """Watch what is new; a broker that does not answer is waited for."""
        begun = time.monotonic()
        # Unless this turn ends well, the next one begins from the database; so does one that leads anew.
        detectors, self._detectors = self._detectors, None
        try:
            if detectors is None or detectors.database is not self._database:
                await self._in_thread(self._close)
                detectors = await Detectors.open(self._database, self._kept)
            else:
                await detectors.mind()
            await self._watch(detectors)
        except KafkaException as error:
            log.warning("ticks_not_watched", error=str(error.args[0]))
        else:
            self._detectors = detectors
        await self.pause(max(PAUSE_SECONDS, (time.monotonic() - begun) * (1 / SHARE - 1)))

    async def stand_by(self) -> None:
        """Read nothing."""
        await self._in_thread(self._close)

    async def on_stop(self) -> None:
        """Watch no more."""
        await super().on_stop()
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _watch(self, detectors: Detectors) -> None:
        """Take in what is new; where nothing is watched, nothing is read."""
        since = detectors.since
        if since is None:
            await self._in_thread(self._close)
            return
        if self._reader is None:
            starts = await self._in_thread(lambda: self._open(since, detectors.read_to))
            await detectors.begin(starts)
        await detectors.take(await self._in_thread(self._read), self._clock())

    def _open(self, since: datetime, read_to: Mapping[Place, int]) -> Mapping[Place, int]:
        """Read on from there, or, where nobody has read yet, from that time on; where that is."""
        begin = {"begin": read_to} if read_to else {"since": since}
        reader = TopicReader(self._config, [self._topic], wait_ms=WAIT_MS, **begin).__enter__()
        self._reader = reader
        return {} if read_to else reader.starts

    def _read(self) -> list[Record]:
        assert self._reader is not None
        return self._reader.read(0, AT_ONCE)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
