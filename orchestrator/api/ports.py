"""What REST and the dashboard need of Kafka, Ray and Ray Serve: the composition root fills these.

Both are faces of the same events: whatever changes something here is a message on Kafka, as from any other producer,
and whatever is shown is read from the database or from the topics.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.algorithms.base import Trainer
from orchestrator.core.admission import Limits
from orchestrator.core.drift import Profile
from orchestrator.core.halting import Order
from orchestrator.store.database import Database
from schemas.base import JsonObject, Message, Reason
from schemas.commands import Command
from schemas.search import SearchRequest
from schemas.signals import Signal


class NotSent(Exception):
    """The broker did not take a message, so nothing was asked for.

    Attributes:
        message_id: its id.
        cause: what the client or the broker said.
    """

    def __init__(self, message_id: str, cause: str) -> None:
        self.message_id = message_id
        self.cause = cause
        super().__init__(f"{message_id} was not acknowledged by Kafka: {cause}")


class Unreachable(Exception):
    """Something that is asked does not answer.

    Attributes:
        what: Kafka, Ray or Ray Serve.
        cause: what the client said.
    """

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        self.cause = cause
        super().__init__(f"{what} does not answer: {cause}")


@dataclass(frozen=True)
class TopicState:
    """A topic of the contract as it is."""

    name: str
    partitions: int
    """0: it is not there yet."""
    produced: int
    """Records ever produced."""
    lag: int | None
    """Records that the service has not taken up; None: it does not consume the topic in a group."""


@dataclass(frozen=True)
class Letter:
    """A dead letter: where it lies, where it came from, why, and the original bytes."""

    topic: str
    partition: int
    offset: int
    came_from: str
    """The topic that it was produced to; `(partition, offset)` there follow."""
    its_partition: int
    its_offset: int
    buried_at: datetime
    reasons: tuple[Reason, ...]
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class FoundSignal:
    """A signal, and where it lies."""

    topic: str
    partition: int
    offset: int
    produced_at: datetime
    signal: Signal


@dataclass(frozen=True)
class Looked:
    """How far back a topic was looked through for a signal."""

    topic: str
    records: int
    back_to: datetime | None
    """When the oldest record that was read was produced; None: there was none."""
    whole: bool
    """All that is kept was read."""


@dataclass(frozen=True)
class Sought:
    """What came of looking for a signal; where it was not found, how far was looked."""

    found: FoundSignal | None
    looked: tuple[Looked, ...]


@dataclass(frozen=True)
class Cluster:
    """What Ray's nodes have in all and what of it is free, by resource."""

    nodes: int
    total: Mapping[str, float]
    available: Mapping[str, float]


@dataclass(frozen=True)
class Event:
    """A message that came on a topic, as its model; `document` is what lay there."""

    topic: str
    key: str
    at: datetime
    """When it was produced."""
    message: Message
    document: JsonObject


class Kafka(Protocol):
    """Producing, and looking at topics. Every method raises `Unreachable` where the broker does not answer."""

    async def search(self, request: SearchRequest) -> None:
        """Produce a search request, and wait for its acknowledgement.

        Raises:
            NotSent: it did not come.
        """
        ...

    async def command(self, command: Command) -> None:
        """Produce a command, and wait for its acknowledgement.

        Raises:
            NotSent: it did not come.
        """
        ...

    async def control(self, order: Order) -> Order:
        """Write a halt or a lift under the next epoch of its scope; the message that stands of the scope then.

        Raises:
            NotSent: it was not acknowledged.
        """
        ...

    async def orders(self) -> Mapping[str, Order]:
        """The message that stands of each scope."""
        ...

    async def topics(self) -> Sequence[TopicState]:
        """The contract's topics, dead letters among them, in the contract's order."""
        ...

    async def dead_letters(self, limit: int) -> Sequence[Letter]:
        """The newest dead letters of all topics, newest first."""
        ...

    async def signal(self, signal_id: str, ticker: str | None, limit: int) -> Sought:
        """Look for the signal of an id, among the newest of each place and then backwards from the ends of the topics.

        Args:
            signal_id: its id.
            ticker: its instrument: then far less is looked through; None: it is not known.
            limit: records after which it is given up.
        """
        ...


class Ray(Protocol):
    """The Ray cluster."""

    @property
    def dashboard(self) -> str | None:
        """The address of Ray's own dashboard, where there is one."""
        ...

    async def cluster(self) -> Cluster:
        """What there is.

        Raises:
            Unreachable: Ray does not answer.
        """
        ...


class Serve(Protocol):
    """Predictions of Ray Serve."""

    @property
    def address(self) -> str | None:
        """Where they are answered; None: nowhere yet."""
        ...

    async def predict(self, ensemble: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body that `POST /{ensemble}` is answered with.

        Raises:
            Unreachable: Ray Serve does not answer.
        """
        ...


class Feed(Protocol):
    """Events and signals as they come, from the start of this process on."""

    def follow(self, topics: Collection[str]) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The events of some topics from now on. Who reads too slowly misses the oldest ones."""
        ...

    def recent(self, topics: Collection[str], limit: int) -> Sequence[Event]:
        """The newest events of some topics, newest first; of before this process began those that are kept."""
        ...


class Profiles(Protocol):
    """What the features of versions were like in training."""

    async def of(self, ensemble: str, version: int, manifest: JsonObject) -> Mapping[str, Profile]:
        """A version's profiles, by ticker; none where they are not kept."""
        ...


@dataclass(frozen=True)
class Faces:
    """All that REST and the dashboard are made of.

    Attributes:
        database: what is shown is read from it.
        kafka: whatever is asked for goes there.
        ray: the cluster.
        serve: predictions.
        feed: what happens.
        profiles: what features were like in training.
        judge: how many trials a request makes; raises `orchestrator.core.errors.Refused` with every reason at once.
        tickers: those with bars of a timeframe, at the moment of asking.
        timeframes: those that any ticker has bars of.
        algorithms: what is installed, by name.
        limits: of the service, and what holds where a request is silent.
        clock: the time, in UTC.
        api_key: what callers must send; None: nothing, and only the loopback is listened on.
        data_dir: for free disk space.
    """

    database: Database
    kafka: Kafka
    ray: Ray
    serve: Serve
    feed: Feed
    profiles: Profiles
    judge: Callable[[SearchRequest, datetime], int]
    tickers: Callable[[str], Collection[str]]
    timeframes: Callable[[], Collection[str]]
    algorithms: Mapping[str, Trainer]
    limits: Limits
    clock: Callable[[], datetime]
    api_key: str | None
    data_dir: Path
