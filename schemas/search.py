"""The search request: what a quant team asks for."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from schemas.base import (
    AlgorithmName,
    FeatureName,
    Instant,
    Instruction,
    Integer,
    Json,
    Mode,
    Name,
    Number,
    RequestId,
    Scalar,
    ShortText,
    StrictPart,
    Ticker,
    Timeframe,
    Voting,
    Whole,
)

StrategyName = Literal["grid", "random", "pbt", "asha", "bayesian", "multi_ticker_pbt"]
MetricName = Literal["sharpe_ratio", "sortino_ratio", "max_drawdown", "hit_rate", "turnover", "psr", "net_return"]
DEFAULT_SEED = 42


def _no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("must not repeat a value")
    return values


Tickers = Annotated[
    tuple[Ticker, ...],
    Field(min_length=1, max_length=1000, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_repeats),
]
GridValues = Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=10_000)]


class Uniform(StrictPart):
    """A number, evenly between `low` and `high`."""

    kind: Literal["uniform"]
    low: Number
    high: Number


class LogUniform(StrictPart):
    """A positive number whose logarithm is evenly between those of `low` and `high`."""

    kind: Literal["loguniform"]
    low: Annotated[Number, Field(gt=0)]
    high: Annotated[Number, Field(gt=0)]


class IntegerRange(StrictPart):
    """A whole number from `low` to `high`, both included."""

    kind: Literal["integer"]
    low: Integer
    high: Integer
    log: bool = False


class Choice(StrictPart):
    """One of the values."""

    kind: Literal["choice"]
    values: GridValues


Dimension = Annotated[Uniform | LogUniform | IntegerRange | Choice, Field(discriminator="kind")]
BasisPoints = Annotated[Number, Field(ge=0, le=10_000)]


class Costs(StrictPart):
    """What a change of position by one unit costs: half the spread, fee and slippage together, in basis points."""

    default_bps: BasisPoints = 2.0
    per_ticker_bps: dict[Ticker, BasisPoints] = Field(default_factory=dict)

    def of(self, ticker: str) -> float:
        """The cost for `ticker` as a fraction of the position (2 bps is 0.0002)."""
        return self.per_ticker_bps.get(ticker, self.default_bps) / 10_000


class Deploy(StrictPart):
    """What becomes of the survivors."""

    auto: bool = False
    """Deploy by itself when the gate lets it through."""
    ensemble_name: Name | None = None
    """Absent: the experiment's name."""
    top_n: Annotated[int, Whole(1, 100)] = 5
    """Members per ticker at most."""
    voting: Voting | None = None
    """Absent: SERVE_VOTING."""
    threshold: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Absent: SERVE_THRESHOLD."""
    mode: Mode = "live"
    gate: bool = True
    """False asks to deploy whatever the gate's verdict is; GATE_OVERRIDE says what that may do."""


class SearchRequest(Instruction):
    """Asks for a search. De-duplicated by `request_id`, then by the search key."""

    TYPE: ClassVar[str] = "search.requested"

    request_id: RequestId
    strategy: StrategyName
    algorithm: AlgorithmName
    tickers: Tickers
    timeframe: Timeframe = "1d"
    target_transform: Literal["log_return", "return"] = "log_return"
    horizon: Annotated[int, Whole(1, 10_000)] | None = None
    """Bars ahead that the target covers. Absent: 1 for bars of a day or more, 12 below."""
    execution: Literal["next_open", "next_close", "same_close"] | None = None
    """When a signal is acted on. Absent: next_open where the data has opens, else next_close."""
    session_policy: Literal["hold", "flat_at_close"] | None = None
    """Absent: hold for bars of a day or more, flat_at_close below."""
    param_grid: dict[FeatureName, GridValues] | None = None
    """Values by hyper-parameter (grid). Absent: the algorithm's own grid."""
    space: dict[FeatureName, Dimension] | None = None
    """Dimension by hyper-parameter (the other strategies). Absent: the algorithm's own space."""
    population_size: Annotated[int, Whole(2, 10_000)] | None = None
    num_generations: Annotated[int, Whole(1, 10_000)] | None = None
    num_samples: Annotated[int, Whole(1, 1_000_000)] | None = None
    search_alg: Literal["random", "optuna", "bayesopt"] | None = None
    seed: Annotated[int, Whole(0, 2**31 - 1)] = DEFAULT_SEED
    metric: MetricName | None = None
    """Absent: TUNE_METRIC."""
    mode: Literal["max", "min"] | None = None
    """Absent: TUNE_MODE."""
    costs: Costs = Costs()
    data_start: Instant | None = None
    """Bars at or after this event time. Absent: from the first."""
    data_end: Instant | None = None
    """Bars before this event time. Absent: to the last."""
    holdout: Annotated[int, Whole(0, 100_000)] = 0
    """Sessions at the end that no trial sees; the gate looks at them once."""
    exit_threshold: Annotated[Number, Field(ge=0, le=1)] | None = None
    """A position is left when |score| falls below this. Absent: half the entry threshold."""
    name: Name | None = None
    """An alias of the experiment."""
    resume: bool = False
    priority: Annotated[int, Whole(-100, 100)] = 0
    expires_at: Instant | None = None
    requested_by: ShortText | None = None
    cause: dict[ShortText, Json] | None = None
    """Why, where something other than a person asked."""
    parent: Name | None = None
    """The experiment this one follows."""
    deploy: Deploy = Deploy()
