"""Starting searches: each is the message that any other producer would send."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import bodies
from orchestrator.api.asking import Given, Newest, Read, answer, made_name, name_of
from orchestrator.api.problems import Conflict
from orchestrator.api.reading import NotFound, Reading
from orchestrator.api.views import View
from orchestrator.core.lifecycle import SEARCHING
from schemas.base import JsonObject, Reason
from schemas.envelope import Undecodable
from schemas.search import SearchRequest, StrategyName

router = APIRouter(prefix="/search", tags=["searches"])

_EXAMPLES: dict[StrategyName, JsonObject] = {
    "grid": {"param_grid": {"alpha": [0.001, 0.01, 0.1], "l1_ratio": [0.3, 0.5, 0.7]}},
    "random": {"num_samples": 50},
    "pbt": {"population_size": 20, "num_generations": 10, "target_transform": "log_return"},
    "asha": {"num_samples": 100, "search_alg": "optuna"},
    "bayesian": {"num_samples": 50, "resume": False},
    "multi_ticker_pbt": {"population_size": 30, "num_generations": 15},
}


class Requested(View):
    """A search that was asked for; `GET /experiments/{experiment}` tells what becomes of it."""

    experiment: str
    request_id: str
    state: Literal["requested"] = "requested"
    trials: int
    """That it makes at most."""
    location: str


def _add(strategy: StrategyName, path: str) -> None:
    example = {"algorithm": "elasticnet", "tickers": ["AAPL", "MSFT"], "timeframe": "1d", **_EXAMPLES[strategy]}
    router.add_api_route(
        path,
        _asked(strategy),
        methods=["POST"],
        status_code=202,
        response_model=Requested,
        name=f"search_{strategy}",
        summary=f"Start a search of strategy {strategy}",
        description="Judged at once; carried out when its turn comes. The name need not be given.",
        openapi_extra=bodies.takes(bodies.SEARCHES[strategy], {f"A search of strategy {strategy}": example}),
    )


def _asked(strategy: StrategyName) -> Callable[..., Awaitable[Response]]:
    async def search(request: Request, faces: Given, read: Read, newest: Newest) -> Response:
        body = await bodies.read(request, bodies.SEARCHES[strategy])
        given: JsonObject = body.model_dump(mode="json", exclude_unset=True)
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("resume") and "name" not in given:
            message = "name the experiment to go on with, or leave `resume` out"
            raise Undecodable((Reason(code="resume_without_name", where="/name", message=message),))
        kind, now = f"{strategy}_{given['algorithm']}", faces.clock()
        made = made_name(kind, now)
        name = name_of(kind, given["request_id"]) if "request_id" in given else made
        asked = SearchRequest.model_validate_json(
            json.dumps({"request_id": made, "name": name, **given, "strategy": strategy})
        )
        trials = await asyncio.to_thread(faces.judge, asked, now)
        await _see_that_name_is_free(read, asked)
        await faces.kafka.search(asked)
        experiment = given.get("name", name)
        newest.note(experiment, asked.request_id)
        newest.note(asked.request_id, asked.request_id)
        location = f"/experiments/{experiment}"
        view = Requested(experiment=experiment, request_id=asked.request_id, trials=trials, location=location)
        return answer(view, 202, {"Location": location})

    return search


async def _see_that_name_is_free(read: Reading, asked: SearchRequest) -> None:
    """Whoever asks for a search would be shown another one's results under its name.

    Raises:
        Conflict: the name is that of an experiment that is over, so that the request will be turned down.
    """
    if asked.name is None or asked.resume or await read.request(asked.request_id) is not None:
        return
    try:
        owner = await read.line(asked.name)
    except NotFound:
        return
    if owner.state not in SEARCHING:
        message = f"the name {asked.name} belongs to experiment {owner.name}: choose another, or leave it out"
        raise Conflict(Reason(code="name_taken", where="/name", message=message))


for _strategy in bodies.SEARCHES:
    _add(_strategy, f"/{_strategy.replace('_', '-')}")
