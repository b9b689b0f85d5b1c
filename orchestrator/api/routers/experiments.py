"""Experiments: what runs, what came of it, and cancelling and resuming."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from orchestrator.api.asking import Given, Limit, NameInPath, Newest, Offset, Read, answer, made_id
from orchestrator.api.commanding import CommandSent, send
from orchestrator.api.problems import Conflict
from orchestrator.api.reading import NotFound, Reading
from orchestrator.api.views import ExperimentDetail, ExperimentLine, Point, TrialDetail, TrialLine, View
from orchestrator.core.lifecycle import State
from orchestrator.store.listing import ExperimentOrder, ExperimentsWanted, Page, TrialsWanted
from orchestrator.store.tables import TrialStatus
from schemas.base import AlgorithmName, Name, Reason, Ticker, pattern_of
from schemas.commands import Cancel, Resume
from schemas.search import MetricName, StrategyName

router = APIRouter(prefix="/experiments", tags=["experiments"])

TrialOrder = Literal["trial", "status", "seconds", "created_at", "finished_at", "metric"] | MetricName
Direction = Literal["asc", "desc"]


class Experiments(View):
    """A page of experiments."""

    total: int
    offset: int
    experiments: tuple[ExperimentLine, ...]


class NotYet(View):
    """A search that was asked for and is not taken in, or was turned down."""

    name: str
    request_id: str
    state: Literal["requested", "rejected"]
    reasons: tuple[Reason, ...] = ()
    """Why it was turned down."""


class Top(View):
    """The best trials, best first."""

    experiment: str
    metric: str
    mode: str
    top: tuple[TrialLine, ...]


class Curve(View):
    """The trials that were better than all before them, in their order."""

    experiment: str
    metric: str
    points: tuple[Point, ...]


@router.get("", response_model=Experiments, summary="List experiments")
async def every(
    read: Read,
    state: Annotated[list[State] | None, Query(description="Only those; may be repeated.")] = None,
    strategy: StrategyName | None = None,
    algorithm: Annotated[str | None, Query(pattern=pattern_of(AlgorithmName))] = None,
    ticker: Annotated[str | None, Query(pattern=pattern_of(Ticker))] = None,
    name: Annotated[str | None, Query(pattern=pattern_of(Name), description="A part of the name.")] = None,
    sort: ExperimentOrder = "created_at",
    order: Direction = "desc",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    wanted = ExperimentsWanted(tuple(state or ()), strategy, algorithm, ticker, name)
    found = await read.experiments(wanted, Page(sort, order == "desc", limit, offset))
    return answer(Experiments(total=found.total, offset=offset, experiments=found.items))


@router.get("/{name}", response_model=ExperimentDetail | NotYet, summary="One experiment, with all of its trials")
async def one(
    name: NameInPath,
    read: Read,
    newest: Newest,
    status: Annotated[list[TrialStatus] | None, Query(description="Only those trials; may be repeated.")] = None,
    ticker: Annotated[str | None, Query(pattern=pattern_of(Ticker))] = None,
    eligible: bool | None = None,
    sort: Annotated[TrialOrder, Query(description="`metric`: what the search optimises.")] = "trial",
    order: Direction = "asc",
    limit: Annotated[int | None, Query(ge=1, le=10_000, description="Absent: all trials.")] = None,
    offset: Offset = 0,
) -> Response:
    wanted = TrialsWanted(tuple(status or ()), ticker, eligible)
    page = Page(sort, order == "desc", limit, offset)
    try:
        return answer(await read.experiment(name, wanted, page))
    except NotFound:
        settled = await _settled(read, newest, name)
    return answer(settled if isinstance(settled, NotYet) else await read.experiment(settled, wanted, page))


@router.get("/{name}/top/{n}", response_model=Top, summary="Its best trials")
async def top(name: NameInPath, n: Annotated[int, Path(ge=1, le=1000)], read: Read) -> Response:
    line = await read.line(name)
    best = await read.top(name, n)
    return answer(Top(experiment=line.name, metric=line.metric, mode=line.mode, top=best))


@router.get("/{name}/curve", response_model=Curve, summary="Its best score so far, as it went on")
async def curve(name: NameInPath, read: Read) -> Response:
    line = await read.line(name)
    return answer(Curve(experiment=line.name, metric=line.metric, points=await read.best_so_far(name)))


@router.get("/{name}/trials/{trial}", response_model=TrialDetail, summary="One trial, with its steps and its profit")
async def trial(name: NameInPath, trial: NameInPath, read: Read) -> Response:
    return answer(await read.trial(name, trial))


@router.post("/{name}/cancel", status_code=202, response_model=CommandSent, summary="Stop it")
async def cancel(name: NameInPath, read: Read, faces: Given, newest: Newest) -> Response:
    experiment, now = await _known(read, newest, name), faces.clock()
    return await send(faces, newest, Cancel(command_id=made_id(now), issued_at=now, experiment=experiment))


@router.post("/{name}/resume", status_code=202, response_model=CommandSent, summary="Go on with what is unfinished")
async def resume(name: NameInPath, read: Read, faces: Given, newest: Newest) -> Response:
    experiment, now = await _known(read, newest, name), faces.clock()
    return await send(faces, newest, Resume(command_id=made_id(now), issued_at=now, experiment=experiment))


async def _known(read: Reading, newest: Newest, name: str) -> str:
    """The id of the experiment that goes by a name: commands know nothing else."""
    try:
        return (await read.line(name)).name
    except NotFound:
        if newest.get(name) is None:
            raise
        message = f"{name} was asked for and is not taken in yet: ask again in a moment"
        raise Conflict(Reason(code="not_taken_in", where=name, message=message)) from None


async def _settled(read: Reading, newest: Newest, name: str) -> str | NotYet:
    """The experiment of the request that was asked for under a name or an id, or why there is none (yet).

    Raises:
        NotFound: nothing of that name was asked for.
    """
    asked = newest.get(name)
    found = await read.request(asked or name)
    if found is None:
        if asked is None:
            raise NotFound("experiment", name)
        return NotYet(name=name, request_id=asked, state="requested")
    if found.experiment is None:
        return NotYet(name=name, request_id=asked or name, state="rejected", reasons=found.reasons)
    return found.experiment
