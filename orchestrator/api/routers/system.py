"""The service itself: what it consists of, what there is to search on, and what could not be handled."""

import asyncio
import platform
import shutil
from collections.abc import Awaitable, Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, TypeVar

import structlog
from fastapi import APIRouter, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import bodies
from orchestrator.api.asking import Given, Limit, Newest, Read, answer, made_id
from orchestrator.api.bodies import Letters
from orchestrator.api.commanding import CommandSent, send
from orchestrator.api.ports import Letter, TopicState, Unreachable
from orchestrator.api.problems import NO_DATABASE
from orchestrator.api.views import View
from orchestrator.core.lifecycle import State
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from schemas.base import Instant, JsonObject, Reason, Scalar, Timeframe, pattern_of
from schemas.commands import ResendDeadLetter

log = structlog.get_logger(__name__)

router = APIRouter(tags=["system"])

_SHOWN_BYTES = 4096
"""Of a dead letter's value."""
_PACKAGES = ("ray-orchestrator", "ray", "confluent-kafka", "faust-streaming", "fastapi")
T = TypeVar("T")


class TopicView(View):
    """A topic of the contract as it is."""

    name: str
    partitions: int
    produced: int
    """Records ever."""
    lag: int | None
    """Records not taken up; null: the service does not consume it in a group."""


class Status(View):
    """What the service consists of. What does not answer is null, and `faults` says why."""

    cluster_resources: dict[str, float] | None
    """What Ray's nodes have in all."""
    available_resources: dict[str, float] | None
    nodes: int | None
    ray_dashboard: str | None
    serve: str | None
    """Where Ray Serve answers POST /{ensemble}; null: nothing was deployed yet."""
    kafka: tuple[TopicView, ...] | None
    lag: int | None
    """Of all topics together."""
    experiments: dict[State, int] | None
    """How many are where."""
    versions: dict[str, str]
    disk_free_bytes: int
    faults: dict[str, str]


class Symbols(View):
    """The tickers that can be searched on."""

    symbols: tuple[str, ...]
    by_timeframe: dict[str, tuple[str, ...]]


class AlgorithmView(View):
    """A model family."""

    name: str
    version: str
    default_grid: dict[str, tuple[Scalar, ...]]
    """Values by hyper-parameter, for a grid search that names none."""
    space: JsonObject
    """Dimension by hyper-parameter, for the other strategies."""
    budget_unit: str
    """What training is measured in."""
    full_budget: int


class Algorithms(View):
    """The model families that are installed."""

    algorithms: tuple[AlgorithmView, ...]


class LetterView(View):
    """A message that could not be handled, where it lies, and why."""

    topic: str
    partition: int
    offset: int
    came_from: str
    its_partition: int
    its_offset: int
    buried_at: Instant
    reasons: tuple[Reason, ...]
    key: str | None
    value: str | None
    """As text, its first 4,096 bytes."""


class DeadLetters(View):
    """The newest dead letters, newest first."""

    dead_letters: tuple[LetterView, ...]


@router.get("/status", response_model=Status, summary="Ray's resources, Kafka's lag, versions")
async def status(faces: Given, read: Read) -> Response:
    faults: dict[str, str] = {}
    cluster, topics, experiments = await asyncio.gather(
        _or_fault("ray", faces.ray.cluster(), faults),
        _or_fault("kafka", faces.kafka.topics(), faults),
        _or_fault("database", read.states(), faults),
    )
    return answer(
        Status(
            cluster_resources=None if cluster is None else dict(cluster.total),
            available_resources=None if cluster is None else dict(cluster.available),
            nodes=None if cluster is None else cluster.nodes,
            ray_dashboard=faces.ray.dashboard,
            serve=faces.serve.address,
            kafka=None if topics is None else tuple(map(_topic, topics)),
            lag=None if topics is None else sum(each.lag or 0 for each in topics),
            experiments=experiments,
            versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            disk_free_bytes=shutil.disk_usage(faces.data_dir if faces.data_dir.exists() else ".").free,
            faults=faults,
        )
    )


@router.get("/symbols", response_model=Symbols, summary="The tickers that can be searched on")
async def symbols(
    faces: Given,
    timeframe: Annotated[str | None, Query(pattern=pattern_of(Timeframe), description="Absent: of any.")] = None,
) -> Response:
    found = await asyncio.to_thread(_symbols, faces, timeframe)
    every = sorted({ticker for tickers in found.values() for ticker in tickers})
    return answer(Symbols(symbols=tuple(every), by_timeframe=found))


@router.get("/algorithms", response_model=Algorithms, summary="The model families that are installed")
async def algorithms(faces: Given) -> Response:
    return answer(
        Algorithms(
            algorithms=tuple(
                AlgorithmView(
                    name=name,
                    version=each.version,
                    default_grid=dict(each.default_grid),
                    space={dimension: spread.model_dump(mode="json") for dimension, spread in each.space.items()},
                    budget_unit=each.budget.unit,
                    full_budget=each.budget.full,
                )
                for name, each in faces.algorithms.items()
            )
        )
    )


@router.get("/dead-letters", response_model=DeadLetters, summary="What could not be handled, and why")
async def dead_letters(faces: Given, limit: Limit = 50) -> Response:
    return answer(DeadLetters(dead_letters=tuple(map(_letter, await faces.kafka.dead_letters(limit)))))


@router.post(
    "/dead-letters/resend",
    status_code=202,
    response_model=CommandSent,
    summary="Produce a dead letter again to the topic that it came from",
    openapi_extra=bodies.takes(
        Letters, {"The fourth of them": {"topic": "search-requests.dlq", "partition": 0, "offset": 3}}
    ),
)
async def resend(request: Request, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, Letters), faces.clock()
    command = ResendDeadLetter(
        command_id=body.command_id or made_id(now),
        issued_at=now,
        topic=body.topic,
        partition=body.partition,
        offset=body.offset,
    )
    return await send(faces, newest, command)


async def _or_fault(what: str, asked: Awaitable[T], faults: dict[str, str]) -> T | None:
    try:
        return await asked
    except Unreachable as error:
        faults[what] = str(error)
    except (DatabaseAway, UnusableDatabase, SQLAlchemyError) as error:
        faults[what] = NO_DATABASE
        log.error("database_away", error=str(error))
    return None


def _topic(state: TopicState) -> TopicView:
    return TopicView(name=state.name, partitions=state.partitions, produced=state.produced, lag=state.lag)


def _symbols(faces: Given, timeframe: str | None) -> Mapping[str, tuple[str, ...]]:
    asked: Sequence[str] = [*faces.timeframes()] if timeframe is None else [timeframe]
    return {each: tuple(sorted(faces.tickers(each))) for each in asked}


def _letter(letter: Letter) -> LetterView:
    return LetterView(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        came_from=letter.came_from,
        its_partition=letter.its_partition,
        its_offset=letter.its_offset,
        buried_at=letter.buried_at,
        reasons=letter.reasons,
        key=_text(letter.key),
        value=_text(letter.value),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:_SHOWN_BYTES].decode(errors="backslashreplace")
