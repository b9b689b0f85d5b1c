"""Kafka, Ray and Ray Serve as REST and the dashboard see them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from confluent_kafka import KafkaException

from orchestrator.api.ports import Cluster, Letter, NotSent, Sought, TopicState, Unreachable
from orchestrator.core.errors import Refused
from orchestrator.core.halting import Order
from schemas.base import Reason, parse_instant
from schemas.commands import Command
from schemas.search import SearchRequest
from schemas.topics import TOPICS
from streams import finding, halting, kafka, letters
from streams.requesting import NotProduced, produce_command, produce_request
from streams.run_folder import RunFolder
from streams.serve_port import served_at
from streams.source import group_of

SOURCE = "/orchestrator/api"
ANSWER_SECONDS = 15.0
PREDICTION_SECONDS = 30.0
SAID_LATELY = timedelta(seconds=30)
"""What the worker has said of the cluster longer ago than this is not told as it is now."""

T = TypeVar("T")


class KafkaFace:
    """`orchestrator.api.ports.Kafka`, each call in a thread.

    Args:
        config: librdkafka's connection settings.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        # What goes wrong is told to whoever asked; librdkafka's lines would come beside it.
        self._config = dict(config) | {"log_level": 0}

    async def search(self, request: SearchRequest) -> None:
        """Produce a search request."""
        await _asked(partial(produce_request, self._config, request, SOURCE))

    async def command(self, command: Command) -> None:
        """Produce a command."""
        await _asked(partial(produce_command, self._config, command, SOURCE))

    async def control(self, order: Order) -> Order:
        """Write a halt or a lift; the message that stands of its scope then."""
        return (await _asked(partial(halting.issue, self._config, order, SOURCE))).stands

    async def orders(self) -> Mapping[str, Order]:
        """The message that stands of each scope."""
        return await _asked(partial(halting.known, self._config))

    async def topics(self) -> Sequence[TopicState]:
        """The contract's topics."""
        return await _asked(partial(_topics, self._config))

    async def dead_letters(self, limit: int) -> Sequence[Letter]:
        """The newest dead letters of all topics."""
        return await _asked(partial(letters.newest, self._config, limit))

    async def signal(self, signal_id: str, ticker: str | None, limit: int) -> Sought:
        """Look for the signal of an id."""
        return await _asked(partial(finding.find, self._config, signal_id, ticker, limit))


class RayFace:
    """`orchestrator.api.ports.Ray`: what the worker has recorded of the cluster.

    Args:
        folder: of the copy.
        clock: the time, in UTC.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock

    @property
    def dashboard(self) -> str | None:
        """The address of the dashboard of the copy's own head."""
        record = self._folder.running("ray")
        return None if record is None else str(record.facts.get("dashboard") or "") or None

    async def cluster(self) -> Cluster:
        """What there is."""
        said = self._folder.cluster()
        if said is None or self._clock() - parse_instant(said["at"]) > SAID_LATELY:
            raise Unreachable("Ray", "the worker has not said lately what the cluster has")
        return Cluster(said["nodes"], said["total"], said["available"])


class ServeFace:
    """`orchestrator.api.ports.Serve`, over HTTP.

    Args:
        folder: of the copy, where the address of predictions is recorded.
        key: what predictions are asked with; None: nothing.
    """

    def __init__(self, folder: RunFolder, key: str | None = None) -> None:
        self._folder = folder
        shown = {} if key is None else {"X-API-Key": key}
        self._client = httpx.AsyncClient(timeout=PREDICTION_SECONDS, trust_env=False, headers=shown)

    async def predict(self, ensemble: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body that `POST /{ensemble}` is answered with."""
        address = self.address
        if address is None:
            raise Unreachable("Ray Serve", "it has not been started: no ensemble has been deployed yet")
        try:
            answer = await self._client.post(f"{address}/{quote(ensemble, safe='')}", content=body)
        except httpx.HTTPError as error:
            raise Unreachable("Ray Serve", str(error) or type(error).__name__) from error
        return answer.status_code, answer.content

    @property
    def address(self) -> str | None:
        """Where predictions are answered; None: nowhere yet."""
        return served_at(self._folder)

    async def close(self) -> None:
        """Ask no more."""
        await self._client.aclose()


async def _asked(ask: Callable[[], T]) -> T:
    """What Kafka answers, in words of the port."""
    try:
        return await asyncio.to_thread(ask)
    except NotProduced as error:
        raise NotSent(error.message_id, error.cause) from error
    except KafkaException as error:
        raise Unreachable("Kafka", error.args[0].str()) from error
    except halting.EpochsUsedUp as error:
        raise Refused([Reason(code="epochs_used_up", where="scope", message=str(error))]) from error


def _topics(config: Mapping[str, Any]) -> list[TopicState]:
    positions = kafka.positions(config, {topic.name: group_of(topic) if topic.consumed else None for topic in TOPICS})
    states = []
    for topic in TOPICS:
        found = [each for each in positions if each.topic == topic.name]
        lag = sum(each.lag for each in found) if topic.consumed else None
        states.append(TopicState(topic.name, len(found), sum(each.end for each in found), lag))
    return states
