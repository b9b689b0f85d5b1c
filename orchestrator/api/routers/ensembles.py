"""Ensembles: what serves, deploying, adding, going back, and predictions."""

from http import HTTPStatus
from pathlib import PurePosixPath

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import bodies
from orchestrator.api.asking import Given, NameInPath, Newest, Read, answer, made_id
from orchestrator.api.bodies import DeployModels, DeploySurvivors, GoBack, NewMember
from orchestrator.api.commanding import CommandSent, send
from orchestrator.api.ports import Unreachable
from orchestrator.api.problems import Conflict, problem
from orchestrator.api.reading import Reading
from orchestrator.api.views import EnsembleDetail, EnsembleLine, View
from orchestrator.core.errors import Refused
from schemas.base import Reason
from schemas.commands import AddMember, Delete, DeployEnsemble, RollBack
from schemas.predictions import Prediction, PredictionRequest, Problem

router = APIRouter(prefix="/ensemble", tags=["ensembles"])

_SURVIVORS = {"ensemble_name": "trading_bot_v1", "experiment_name": "pbt_elasticnet_20260115_143022_0a1b2c"}
_FEATURES = {"features": {"return_1": 0.004, "rsi_14": 35.0, "volatility_20": 0.02}}


class Ensembles(View):
    """Every ensemble."""

    ensembles: tuple[EnsembleLine, ...]


@router.get("", response_model=Ensembles, summary="List ensembles")
async def every(read: Read) -> Response:
    return answer(Ensembles(ensembles=await read.ensembles()))


@router.post(
    "/deploy",
    status_code=202,
    response_model=CommandSent,
    summary="Have registered models vote",
    openapi_extra=bodies.takes(
        DeployModels,
        {"Two registered models": {"ensemble_name": "bot_v1", "model_paths": ["champion", "models/second.ubj"]}},
    ),
)
async def deploy(request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, DeployModels), faces.clock()
    command = DeployEnsemble(
        command_id=body.command_id or made_id(now),
        issued_at=now,
        ensemble=body.ensemble_name,
        models=await _digests(read, body.model_paths, "/model_paths"),
        voting=body.voting,
        threshold=body.threshold,
        mode=body.mode,
        gate=body.gate,
    )
    return await send(faces, newest, command)


@router.post(
    "/deploy-pbt-survivors",
    status_code=202,
    response_model=CommandSent,
    summary="Have the best of an experiment vote",
    openapi_extra=bodies.takes(
        DeploySurvivors,
        {"The best five": {**_SURVIVORS, "top_n": 5, "voting": "soft", "threshold": 0.7}, "What it takes": _SURVIVORS},
    ),
)
async def deploy_survivors(request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, DeploySurvivors), faces.clock()
    experiment = await read.line(body.experiment_name)
    command = DeployEnsemble(
        command_id=body.command_id or made_id(now),
        issued_at=now,
        ensemble=body.ensemble_name,
        experiment=experiment.name,
        top_n=body.top_n,
        voting=body.voting,
        threshold=body.threshold,
        mode=body.mode,
        gate=body.gate,
    )
    return await send(faces, newest, command)


@router.get("/{name}", response_model=EnsembleDetail, summary="One ensemble: versions, members, what it has earned")
async def one(name: NameInPath, read: Read, faces: Given) -> Response:
    found, address = await read.ensemble(name), faces.serve.address
    serves = address is not None and found.serving_version is not None
    return answer(found.model_copy(update={"endpoint": f"{address}/{name}"}) if serves else found)


@router.delete("/{name}", status_code=202, response_model=CommandSent, summary="Stop serving it")
async def delete(name: NameInPath, read: Read, faces: Given, newest: Newest) -> Response:
    await read.serves(name)
    now = faces.clock()
    return await send(faces, newest, Delete(command_id=made_id(now), issued_at=now, ensemble=name))


@router.post(
    "/{name}/members",
    status_code=202,
    response_model=CommandSent,
    summary="Have a registered model vote besides",
    openapi_extra=bodies.takes(NewMember, {"A new champion": {"model_path": "new_champion"}}),
)
async def add_member(name: NameInPath, request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, NewMember), faces.clock()
    await read.serves(name)
    (digest,) = await _digests(read, (body.model_path,), "/model_path")
    command = AddMember(
        command_id=body.command_id or made_id(now), issued_at=now, ensemble=name, model=digest, ticker=body.ticker
    )
    return await send(faces, newest, command)


@router.post(
    "/{name}/roll-back",
    status_code=202,
    response_model=CommandSent,
    summary="Have an earlier version serve again",
    openapi_extra=bodies.takes(GoBack, {"The one before": {}, "Version 2": {"version": 2}}, required=False),
)
async def roll_back(name: NameInPath, request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, GoBack, empty=True), faces.clock()
    await read.serves(name)
    command = RollBack(command_id=body.command_id or made_id(now), issued_at=now, ensemble=name, version=body.version)
    return await send(faces, newest, command)


@router.post(
    "/{name}/predict",
    response_model=Prediction,
    summary="What it says to the features of one bar",
    description="Nothing is kept of it. The ticker may be left out where the ensemble covers one only.",
    openapi_extra=bodies.takes(
        PredictionRequest, {"One bar": {**_FEATURES, "ticker": "AAPL"}, "One ticker": _FEATURES}
    ),
)
async def predict(name: NameInPath, request: Request, read: Read, faces: Given) -> Response:
    await bodies.read(request, PredictionRequest)
    if not await read.serves(name):
        message = f"no version of {name} serves: deploy one, or have an earlier one serve again"
        raise Conflict(Reason(code="nothing_serves", where=name, message=message))
    status, body = await faces.serve.predict(name, await request.body())
    if status == HTTPStatus.OK:
        return Response(body, status, media_type="application/json")
    try:
        return problem(HTTPStatus(status), Problem.model_validate_json(body).reasons)
    except ValueError as error:
        # Not the ensemble's own words: its replica is not there, and Ray Serve says so in its own.
        said = body[:200].decode(errors="replace")
        raise Unreachable("Ray Serve", f"it says {status} of {name}: {said}") from error


async def _digests(read: Reading, models: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The digests of registered models that are named, or whose files are; no file is looked at.

    Raises:
        Refused: some are not registered; each is named.
    """
    found = [await read.model(each, PurePosixPath(each).stem) for each in models]
    unknown = [
        Reason(
            code="unknown_model",
            where=f"{where}/{number}",
            message=f"{named} is not registered: `orchestrator models register` does that, and `list` shows what is",
        )
        for number, (named, digest) in enumerate(zip(models, found, strict=True))
        if digest is None
    ]
    if unknown:
        raise Refused(unknown)
    return tuple(digest for digest in found if digest is not None)
