"""Ports that remember what is asked of them, around a real database: what REST and the dashboard are tested with."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.algorithms.base import Trainer, trainer
from orchestrator.api.ports import Cluster, Event, Faces, FoundSignal, Letter, Looked, Sought, TopicState
from orchestrator.core.admission import Limits
from orchestrator.core.drift import Profile
from orchestrator.core.halting import Order
from orchestrator.store.database import Database
from schemas.base import JsonObject, Message, Reason
from schemas.commands import Command
from schemas.search import SearchRequest
from schemas.signals import Signal
from streams.judging import Judge

NOW = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
TICKERS = ("AAPL", "IBM", "MSFT")
LETTER = Letter(
    topic="search-requests.dlq",
    partition=0,
    offset=3,
    came_from="search-requests",
    its_partition=1,
    its_offset=17,
    buried_at=NOW,
    reasons=(Reason(code="not_json", message="the value is not JSON"),),
    key=b"request-1",
    value=b"\xff{",
)


@dataclass
class FakeKafka:
    """What was produced; `failure` is raised instead."""

    searches: list[SearchRequest] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    halts: dict[str, Order] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    failure: Exception | None = None

    async def search(self, request: SearchRequest) -> None:
        self._fail()
        self.searches.append(request)

    async def command(self, command: Command) -> None:
        self._fail()
        self.commands.append(command)

    async def control(self, order: Order) -> Order:
        self._fail()
        epoch = self.halts[order.scope].epoch + 1 if order.scope in self.halts else 1
        self.halts[order.scope] = order.model_copy(update={"epoch": epoch})
        return self.halts[order.scope]

    async def orders(self) -> Mapping[str, Order]:
        self._fail()
        return dict(self.halts)

    async def topics(self) -> Sequence[TopicState]:
        self._fail()
        return [TopicState("search-requests", 4, 12, 0), TopicState("signals", 8, 7, None)]

    async def dead_letters(self, limit: int) -> Sequence[Letter]:
        self._fail()
        return [LETTER][:limit]

    async def signal(self, signal_id: str, ticker: str | None, limit: int) -> Sought:
        self._fail()
        kept = [each for each in self.signals if ticker in (None, each.ticker)][:limit]
        found = [FoundSignal("signals", 0, 7, NOW, each) for each in kept if each.id == signal_id]
        return Sought(found[0] if found else None, (Looked("signals", len(kept), NOW, whole=True),))

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeRay:
    """A cluster of one node."""

    failure: Exception | None = None
    dashboard: str | None = "http://127.0.0.1:8265"

    async def cluster(self) -> Cluster:
        if self.failure is not None:
            raise self.failure
        return Cluster(1, {"CPU": 2.0}, {"CPU": 1.5})


@dataclass
class FakeServe:
    """Answers the same to whatever is asked."""

    status: int = 200
    body: bytes = b'{"signal": "BUY", "confidence": 0.82, "num_models": 5, "voting_method": "soft"}'
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    failure: Exception | None = None
    address: str | None = "http://127.0.0.1:8000"

    async def predict(self, ensemble: str, body: bytes) -> tuple[int, bytes]:
        if self.failure is not None:
            raise self.failure
        self.asked.append((ensemble, body))
        return self.status, self.body


@dataclass
class FakeFeed:
    """Hands on what is put into it."""

    kept: list[Event] = field(default_factory=list)
    followers: list[tuple[frozenset[str], asyncio.Queue[Event]]] = field(default_factory=list)

    def put(self, event: Event) -> None:
        self.kept.append(event)
        for topics, queue in self.followers:
            if event.topic in topics:
                queue.put_nowait(event)

    @asynccontextmanager
    async def follow(self, topics: Collection[str]) -> AsyncIterator[AsyncIterator[Event]]:
        mine = (frozenset(topics), asyncio.Queue[Event]())
        self.followers.append(mine)
        try:
            yield self._drawn(mine[1])
        finally:
            self.followers.remove(mine)

    @staticmethod
    async def _drawn(queue: asyncio.Queue[Event]) -> AsyncIterator[Event]:
        while True:
            yield await queue.get()

    def recent(self, topics: Collection[str], limit: int) -> Sequence[Event]:
        return [each for each in reversed(self.kept) if each.topic in topics][:limit]


class FakeProfiles:
    """Nothing is known of any training."""

    async def of(self, ensemble: str, version: int, manifest: JsonObject) -> Mapping[str, Profile]:
        return {}


def faces(database: Database, data_dir: Path = Path("data")) -> Faces:
    """Ports that have nothing to tell yet; one algorithm, and daily bars of three tickers."""
    algorithms: Mapping[str, Trainer] = {"elasticnet": trainer("elasticnet")}
    judge = Judge(_tickers, algorithms, Limits())
    return Faces(
        database=database,
        kafka=FakeKafka(),
        ray=FakeRay(),
        serve=FakeServe(),
        feed=FakeFeed(),
        profiles=FakeProfiles(),
        judge=lambda request, now: judge(request, now).trials,
        tickers=_tickers,
        timeframes=lambda: ("1d",),
        algorithms=algorithms,
        limits=judge.limits,
        clock=lambda: NOW,
        api_key=None,
        data_dir=data_dir,
    )


def event(topic: str, message: Message, key: str = "key") -> Event:
    """A message as it comes on a topic."""
    document = json.loads(message.model_dump_json())
    return Event(topic, key, NOW, message, document)


def _tickers(timeframe: str) -> Collection[str]:
    return TICKERS if timeframe == "1d" else ()
