"""Live performance: one worker of all follows the signals as an engine would, and tells what that earns.

Signals are followed by ensemble and mode, which is told, and by version, whichever way each is heard: what a challenger
earns is compared with what its champion does.

How far it has read is written in the transaction of what it has read, so that nothing counts twice or is left out,
whoever goes on after a crash; what the tick path says again is known by its bar and revision. It reads few signals at
a time, since it shares the interpreter with the tick path and nobody waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Self, TypeVar

import structlog
from confluent_kafka import KafkaException
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.calendar import Calendar, calendar_named
from orchestrator.core.errors import Refused
from orchestrator.core.performance import Account, Figures, Following, Said
from orchestrator.core.versions import VersionState
from orchestrator.store import books, ensembles, performance
from orchestrator.store.database import Database
from orchestrator.store.outbox import append
from orchestrator.store.performance import Place
from schemas.base import JsonObject, Mode
from schemas.codec import Followed, read_followed
from schemas.ensembles import EnsemblePerformance, FilledAt
from schemas.topics import ENSEMBLE_EVENTS, SIGNALS, SIGNALS_PAPER, SIGNALS_SHADOW, Topic
from streams.leading import Leadership, Leading
from streams.reader import TopicReader
from streams.repeating import OnFailure
from streams.source import Record

log = structlog.get_logger(__name__)

FOLLOWED: tuple[Topic, ...] = (SIGNALS, SIGNALS_PAPER, SIGNALS_SHADOW)
EVERY = timedelta(minutes=15)
"""How often figures that change are told within a session, at most."""
AT_ONCE = 2000
"""Signals read in a turn."""
AT_A_STRETCH = 100
"""Signals followed before the tick path has its turn again."""
PAUSE_SECONDS = 1.0
SHARE = 0.1
"""Of the time, at most: a turn takes the longer the more the tick path has to do, which then has the longer pause."""
WAIT_MS = 500

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Rules:
    """How signals of a version are followed: by its manifest."""

    calendar: Calendar
    filled_at: FilledAt
    followings: Mapping[str, Following]

    @classmethod
    def of(cls, manifest: JsonObject) -> Self:
        """The rules in a manifest."""
        same_close = manifest["execution"] == "same_close"
        tickers = manifest["tickers"]
        return cls(
            calendar=calendar_named(manifest["calendar"]),
            filled_at="same_close" if same_close else "next_close",
            followings={
                ticker: Following(cost=rules["cost"], delay=0 if same_close else 1, share=1 / len(tickers))
                for ticker, rules in tickers.items()
            },
        )

    def figures(self, account: Account) -> Figures:
        """What an account has earned whose newest version has these rules."""
        return account.figures(self.calendar.sessions_per_year)


class Books:
    """The accounts, as the database has them.

    Whatever a call raises, they may differ from it then, and are to be opened again.
    """

    def __init__(
        self,
        database: Database,
        accounts: dict[tuple[str, Mode], Account],
        by_version: dict[tuple[str, int], Account],
        read_to: dict[Place, int],
    ) -> None:
        self.database = database
        self.read_to = read_to
        self._accounts = accounts
        self._by_version = by_version
        self._rules: dict[tuple[str, int], Rules] = {}
        self._session_close = lru_cache(maxsize=4096)(Calendar.session_close)

    @classmethod
    async def open(cls, database: Database) -> Self:
        """Read everything."""
        async with database.snapshot() as tx:
            accounts, by_version = await performance.accounts(tx), await books.every(tx)
            return cls(database, accounts, by_version, await performance.read(tx))

    async def take(self, records: Sequence[Record]) -> None:
        """Follow the signals among records that come after those taken before, and write what has changed.

        What is no signal, of a version that the database does not have, or outside the calendar, is passed over.

        Raises:
            LeaseLost: another worker follows; nothing was written.
        """
        if not records:
            return
        told = [found for each in records if (found := read_followed(each.value)) is not None]
        # Where a version begins to be heard in another way, its signals go on on another topic.
        told.sort(key=itemgetter(1))
        await self._learn({(signal.ensemble, signal.version) for signal, _ in told})
        changed: dict[tuple[str, Mode], Account] = {}
        by_version: dict[tuple[str, int], Account] = {}
        for number, (signal, event_time) in enumerate(told, 1):
            if (said := self._said(signal, event_time)) is not None:
                _follow(self._accounts, changed, (signal.ensemble, signal.mode), signal, said)
                _follow(self._by_version, by_version, (signal.ensemble, signal.version), signal, said)
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        read_to = {(each.topic, each.partition): each.offset + 1 for each in records}

        async def save(tx: AsyncSession) -> None:
            await performance.save(tx, changed, read_to)
            await books.save(tx, by_version)

        await self.database.commit(save)
        self.read_to |= read_to

    async def tell(self, now: datetime) -> None:
        """Tell what has changed where it is due, each ensemble in a transaction of its own.

        Raises:
            LeaseLost: another worker follows.
        """
        for (ensemble, mode), account in self._accounts.items():
            if account.is_due(now, EVERY):
                await self._learn({(ensemble, account.version)})
                await self._tell(ensemble, mode, account, now)

    async def _learn(self, versions: set[tuple[str, int]]) -> None:
        """Know the rules of versions that were not known yet."""
        for ensemble in sorted({ensemble for ensemble, _ in versions - self._rules.keys()}):
            async with self.database.snapshot() as tx:
                found = await ensembles.versions(tx, ensemble)
            for each in found:
                if (ensemble, each.version) in versions:
                    self._rules[ensemble, each.version] = Rules.of(each.manifest)

    def _said(self, signal: Followed, event_time: datetime) -> Said | None:
        """What a signal says; None: it cannot be followed."""
        rules = self._rules.get((signal.ensemble, signal.version))
        if rules is None:
            return None
        try:
            session = self._session_close(rules.calendar, event_time)
        except Refused as refused:
            log.warning("signal_not_followed", ensemble=signal.ensemble, reasons=[*map(str, refused.reasons)])
            return None
        return Said(
            event_time=event_time,
            revision=signal.revision,
            target=signal.target_position,
            price=signal.price,
            session=session,
            following=rules.followings.get(signal.ticker),
        )

    async def _tell(self, ensemble: str, mode: Mode, account: Account, now: datetime) -> None:
        rules = self._rules[ensemble, account.version]
        figures = rules.figures(account)
        if not figures.sessions:
            return
        account.tell(now)

        async def write(tx: AsyncSession) -> None:
            versions = await ensembles.versions(tx, ensemble)
            serving = (each.version for each in versions if each.state is VersionState.DEPLOYED)
            event = EnsemblePerformance(
                ensemble=ensemble,
                sequence=0,
                version=account.version,
                serving_version=next(serving, None),
                emitted_at=now,
                signals=account.signals,
                mode=mode,
                since=account.since,
                through=account.through,
                filled_at=rules.filled_at,
                **vars(figures),
            )
            await append(tx, ENSEMBLE_EVENTS, ensemble, event, now)
            await performance.save(tx, {(ensemble, mode): account})

        await self.database.commit(write)


def _follow(accounts: dict[K, Account], changed: dict[K, Account], key: K, signal: Followed, said: Said) -> None:
    """Follow a signal in an account, and note that it has changed."""
    account = accounts.get(key) or Account()
    if account.follow(f"{signal.ticker} {signal.timeframe}", signal.version, said):
        accounts[key] = changed[key] = account


class Performance(Leading):
    """Keeps the books while it leads.

    Args:
        config: librdkafka's connection settings.
        leadership: of the worker that does.
        clock: the time.
        on_failure: called with the error that ends it.
        topics: the signals that are followed.
    """

    def __init__(
        self,
        config: dict[str, Any],
        leadership: Leadership,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        topics: Sequence[Topic] = FOLLOWED,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._config = config
        self._clock = clock
        self._topics = topics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="performance")
        self._reader: TopicReader | None = None
        self._books: Books | None = None

    async def act(self) -> None:
        """Follow what is new, and tell what is due; a broker that does not answer is waited for."""
        begun = time.monotonic()
        # Unless this turn ends well, the next one begins from the database; so does one that leads anew.
        kept, self._books = self._books, None
        try:
            if kept is None or kept.database is not self._database:
                kept = await Books.open(self._database)
                await self._in_thread(lambda: self._open(kept.read_to))
            await kept.take(await self._in_thread(self._read))
        except KafkaException as error:
            log.warning("signals_not_followed", error=str(error.args[0]))
        else:
            await kept.tell(self._clock())
            self._books = kept
        await self.pause(max(PAUSE_SECONDS, (time.monotonic() - begun) * (1 / SHARE - 1)))

    async def stand_by(self) -> None:
        """Read nothing."""
        await self._in_thread(self._close)

    async def on_stop(self) -> None:
        """Follow no more."""
        await super().on_stop()
        await self._in_thread(self._close)
        self._thread.shutdown()

    def _open(self, read_to: Mapping[Place, int]) -> None:
        self._close()
        self._reader = TopicReader(self._config, self._topics, begin=read_to, wait_ms=WAIT_MS).__enter__()

    def _read(self) -> list[Record]:
        assert self._reader is not None
        return self._reader.read(0, AT_ONCE)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
