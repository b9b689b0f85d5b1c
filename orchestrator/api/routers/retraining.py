"""Retraining: policies, what they have triggered, and what becomes of challengers."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import bodies, retraining
from orchestrator.api.asking import Given, NameInPath, Newest, Read, answer, made_id
from orchestrator.api.bodies import PromoteChallenger, RetireChallenger, RetrainNow
from orchestrator.api.commanding import CommandSent, send
from orchestrator.api.problems import Conflict
from orchestrator.api.reading import Reading
from orchestrator.api.retraining import PolicyView, Retraining
from orchestrator.api.views import View
from schemas.base import JsonObject, Reason
from schemas.commands import Promote, RemovePolicy, Retire, Retrain, SetPolicy
from schemas.policies import Policy

router = APIRouter(tags=["retraining"])

_POLICIES: dict[str, JsonObject] = {
    "Every Friday, and where features drift": {"schedule": "30 18 * * 5", "drift": {}},
    "As much as there is": {
        "max_age_days": 90,
        "performance": {"sessions": 60, "confidence": 0.99},
        "drift": {"windows": 2},
        "outliers": {"share": 0.2},
        "cooldown_hours": 48,
        "trials_per_day": 2000,
        "quiet": [{"start": "09:00", "end": "16:30"}],
        "search": {"neighbourhood": 0.5},
        "promotion": {"sessions": 20, "looks": 3, "confidence": 0.95, "canary": ["AAPL"]},
    },
}


class Policies(View):
    """Every policy."""

    policies: tuple[PolicyView, ...]


@router.get("/policies", response_model=Policies, summary="List policies")
async def every(faces: Given) -> Response:
    return answer(Policies(policies=await retraining.policies(faces)))


@router.get("/ensemble/{name}/policy", response_model=PolicyView, summary="When an ensemble is trained anew")
async def policy(name: NameInPath, faces: Given) -> Response:
    return answer(await retraining.policy_of(faces, name))


@router.put(
    "/ensemble/{name}/policy",
    status_code=202,
    response_model=CommandSent,
    summary="Say when an ensemble is trained anew",
    description="Instead of what was said before. What is left out never fires.",
    openapi_extra=bodies.takes(Policy, _POLICIES),
)
async def set_policy(name: NameInPath, request: Request, faces: Given, newest: Newest) -> Response:
    wanted, now = await bodies.read(request, Policy), faces.clock()
    await retraining.judge_policy(faces, name, wanted)
    return await send(faces, newest, SetPolicy(command_id=made_id(now), issued_at=now, ensemble=name, policy=wanted))


@router.delete(
    "/ensemble/{name}/policy", status_code=202, response_model=CommandSent, summary="Train an ensemble anew no more"
)
async def remove_policy(name: NameInPath, faces: Given, newest: Newest) -> Response:
    await retraining.policy_of(faces, name)
    now = faces.clock()
    return await send(faces, newest, RemovePolicy(command_id=made_id(now), issued_at=now, ensemble=name))


@router.get(
    "/ensemble/{name}/retraining",
    response_model=Retraining,
    summary="What would trigger, how near it is, what was triggered, and the challenger",
)
async def one(name: NameInPath, faces: Given) -> Response:
    return answer(await retraining.of_ensemble(faces, name))


@router.post(
    "/ensemble/{name}/retrain",
    status_code=202,
    response_model=CommandSent,
    summary="Train an ensemble anew, now",
    description="By its policy; inside the cool-down it joins what was triggered before.",
    openapi_extra=bodies.takes(
        RetrainNow, {"Without a reason": {}, "With one": {"cause": {"because": "a split"}}}, required=False
    ),
)
async def retrain(name: NameInPath, request: Request, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, RetrainNow, empty=True), faces.clock()
    await retraining.policy_of(faces, name)
    command = Retrain(command_id=body.command_id or made_id(now), issued_at=now, ensemble=name, cause=body.cause)
    return await send(faces, newest, command)


@router.post(
    "/ensemble/{name}/promote",
    status_code=202,
    response_model=CommandSent,
    summary="Make the challenger the champion, or have it heard on some instruments",
    openapi_extra=bodies.takes(
        PromoteChallenger, {"On all": {}, "As a canary": {"version": 3, "tickers": ["AAPL"]}}, required=False
    ),
)
async def promote(name: NameInPath, request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, PromoteChallenger, empty=True), faces.clock()
    version = await _challenger(read, name, body.version)
    command = Promote(
        command_id=body.command_id or made_id(now), issued_at=now, ensemble=name, version=version, tickers=body.tickers
    )
    return await send(faces, newest, command)


@router.post(
    "/ensemble/{name}/retire",
    status_code=202,
    response_model=CommandSent,
    summary="End the challenger; the champion goes on",
    openapi_extra=bodies.takes(RetireChallenger, {"The one on trial": {}}, required=False),
)
async def retire(name: NameInPath, request: Request, read: Read, faces: Given, newest: Newest) -> Response:
    body, now = await bodies.read(request, RetireChallenger, empty=True), faces.clock()
    version = await _challenger(read, name, body.version)
    command = Retire(command_id=body.command_id or made_id(now), issued_at=now, ensemble=name, version=version)
    return await send(faces, newest, command)


async def _challenger(read: Reading, name: str, asked_for: int | None) -> int:
    """The number that is asked for, else that of the version on trial.

    Raises:
        NotFound: there is no such ensemble.
        Conflict: none is on trial.
    """
    version = asked_for or await read.challenger(name)
    if version is None:
        raise Conflict(Reason(code="no_challenger", where=name, message=f"no version of {name} is on trial"))
    await read.serves(name)
    return version
