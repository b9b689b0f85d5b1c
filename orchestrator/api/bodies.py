"""Bodies of requests: judged exactly as messages are, whatever Content-Type a client sends along.

curl calls JSON a form unless it is told otherwise; so the type is not looked at.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, create_model
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request

from orchestrator.core.admission import STRATEGY_FIELDS
from schemas.base import (
    Count,
    Instant,
    Json,
    JsonObject,
    Mode,
    Name,
    Number,
    RequestId,
    Sequence,
    ShortText,
    StrictPart,
    Ticker,
    Version,
    Voting,
    Whole,
)
from schemas.control import HaltAction, Scope
from schemas.envelope import decode
from schemas.json_schema import ExactSchema
from schemas.policies import Policy
from schemas.predictions import PredictionRequest, Problem
from schemas.search import SearchRequest, StrategyName

M = TypeVar("M", bound=BaseModel)
_REF = "#/components/schemas/Body.{model}"


class DeployModels(StrictPart):
    """Registered models that are to vote as the next version of an ensemble."""

    ensemble_name: Name
    model_paths: Annotated[tuple[ShortText, ...], Field(min_length=1, max_length=100)]
    """Names or digests of registered models, or the paths of files that were registered; no file is opened."""
    voting: Voting | None = None
    """Absent: SERVE_VOTING."""
    threshold: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Absent: SERVE_THRESHOLD."""
    mode: Mode = "live"
    gate: bool = False
    """No gate judges registered models: GATE_OVERRIDE says what they may do."""
    command_id: RequestId | None = None
    """Absent: one is made up. Under the same one, nothing is done twice."""


class DeploySurvivors(StrictPart):
    """The best of an experiment, which are to vote as the next version of an ensemble."""

    ensemble_name: Name
    experiment_name: Name
    top_n: Annotated[int, Whole(1, 100)] = 5
    """Members per ticker at most."""
    voting: Voting | None = None
    """Absent: SERVE_VOTING."""
    threshold: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Absent: SERVE_THRESHOLD."""
    mode: Mode = "live"
    gate: bool = True
    """False asks to deploy whatever the gate's verdict is; GATE_OVERRIDE says what that may do."""
    command_id: RequestId | None = None
    """Absent: one is made up. Under the same one, nothing is done twice."""


class NewMember(StrictPart):
    """A registered model that is to vote besides the members of the version that serves."""

    model_path: ShortText
    """Name or digest of a registered model, or the path of a file that was registered; no file is opened."""
    ticker: Ticker | None = None
    """Absent: every one that it was registered for."""
    command_id: RequestId | None = None


class GoBack(StrictPart):
    """Which version is to serve again."""

    version: Version | None = None
    """Absent: the one before."""
    command_id: RequestId | None = None


class RetrainNow(StrictPart):
    """Why an ensemble is to be trained anew now."""

    cause: dict[ShortText, Json] = Field(default_factory=dict)
    """In the sender's own words."""
    command_id: RequestId | None = None


class PromoteChallenger(StrictPart):
    """Which challenger is to be heard, and on what."""

    version: Version | None = None
    """Absent: the one on trial."""
    tickers: Annotated[tuple[Ticker, ...], Field(max_length=1000)] = ()
    """As a canary: it is heard on these alone, and the champion on the others. Empty: on all."""
    command_id: RequestId | None = None


class RetireChallenger(StrictPart):
    """Which challenger is to answer no more."""

    version: Version | None = None
    """Absent: the one on trial."""
    command_id: RequestId | None = None


class HaltTrading(StrictPart):
    """A halt."""

    scope: Scope = "all"
    """`all`, `ensemble:NAME` or `ticker:NAME`."""
    action: HaltAction
    reason: ShortText
    actor: ShortText = "rest"
    expires_at: Instant | None = None
    """Absent: until it is lifted."""


class Letters(StrictPart):
    """A dead letter that is to be produced again to the topic that it came from."""

    topic: ShortText
    """The dead letters' own, such as `search-requests.dlq`."""
    partition: Count = 0
    offset: Sequence
    command_id: RequestId | None = None


def _search_body(strategy: StrategyName, name: str) -> type[StrictPart]:
    """`SearchRequest` as it is asked for of one strategy: without what only others read, and no id need be given."""
    unread = frozenset().union(*STRATEGY_FIELDS.values()) - STRATEGY_FIELDS[strategy]
    left_out = unread | {"strategy", "schema_version", "request_id"}
    given: dict[str, Any] = {
        field: (info.annotation, info) for field, info in SearchRequest.model_fields.items() if field not in left_out
    }
    given["request_id"] = (RequestId | None, Field(None, description="Absent: one is made up."))
    return create_model(name, __base__=StrictPart, __doc__=f"What a search of strategy {strategy} takes.", **given)


SEARCHES: Mapping[StrategyName, type[StrictPart]] = {
    "grid": _search_body("grid", "GridSearch"),
    "random": _search_body("random", "RandomSearch"),
    "pbt": _search_body("pbt", "PbtSearch"),
    "asha": _search_body("asha", "AshaSearch"),
    "bayesian": _search_body("bayesian", "BayesianSearch"),
    "multi_ticker_pbt": _search_body("multi_ticker_pbt", "MultiTickerPbtSearch"),
}
_BODIES: tuple[type[BaseModel], ...] = (
    *SEARCHES.values(),
    DeployModels,
    DeploySurvivors,
    NewMember,
    GoBack,
    Policy,
    RetrainNow,
    PromoteChallenger,
    RetireChallenger,
    HaltTrading,
    Letters,
    PredictionRequest,
)


async def read(request: Request, model: type[M], *, empty: bool = False) -> M:
    """The body of a request.

    Args:
        request: whose.
        model: what it must be.
        empty: it may be absent, which is the same as an object without fields.

    Raises:
        Undecodable: it is not; every fault at once.
    """
    body = await request.body()
    found: M = decode(model, b"{}" if empty and not body else body)
    return found


def takes(model: type[BaseModel], examples: Mapping[str, JsonObject], *, required: bool = True) -> JsonObject:
    """What OpenAPI says of an operation that reads such a body; `examples` are by their summary."""
    shown = {
        f"example-{number}": {"summary": name, "value": value}
        for number, (name, value) in enumerate(examples.items(), 1)
    }
    content = {"schema": {"$ref": _REF.format(model=model.__name__)}, "examples": shown}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def components() -> JsonObject:
    """The schemas of all bodies and of problems, for OpenAPI's components."""
    mode: JsonSchemaMode = "validation"
    _, document = models_json_schema(
        [(model, mode) for model in _BODIES], ref_template=_REF, schema_generator=ExactSchema
    )
    written = TypeAdapter(Problem).json_schema(mode="serialization", ref_template=_REF, schema_generator=ExactSchema)
    definitions = {**document["$defs"], **written.pop("$defs", {}), "Problem": written}
    return {f"Body.{name}": schema for name, schema in definitions.items()}


PROBLEM = {"$ref": _REF.format(model="Problem")}
