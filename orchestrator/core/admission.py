"""Admission: whether a search request asks for something that can be done."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Protocol

from orchestrator.core import grid, space
from orchestrator.core.calendar import is_intraday
from orchestrator.core.canonical import FLOAT_DIGITS
from orchestrator.core.metrics import HIGHER_IS_BETTER
from orchestrator.core.queueing import has_expired
from schemas.base import Reason, Scalar
from schemas.search import Dimension, SearchRequest, StrategyName

STRATEGY_FIELDS: Mapping[StrategyName, frozenset[str]] = {
    "grid": frozenset({"param_grid"}),
    "random": frozenset({"space", "num_samples"}),
    "asha": frozenset({"space", "num_samples", "search_alg"}),
    "bayesian": frozenset({"space", "num_samples"}),
    "pbt": frozenset({"space", "population_size", "num_generations"}),
    "multi_ticker_pbt": frozenset({"space", "population_size", "num_generations"}),
}
"""What each strategy reads of a request; what only others read is refused, since it would be silently ignored."""
MOST_PARAMETERS = 100
MOST_REASONS = 50
"""Reasons that a rejection carries; one more says how many were left out, so that the message stays small."""


class Algorithm(Protocol):
    """The part of a trainer that admission asks."""

    @property
    def default_grid(self) -> Mapping[str, tuple[Scalar, ...]]:
        """Values by hyper-parameter, for a grid search that names none."""
        ...

    @property
    def space(self) -> Mapping[str, Dimension]:
        """Dimension by hyper-parameter, for the other strategies."""
        ...

    def refuse(self, configuration: Mapping[str, Scalar]) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration."""
        ...


@dataclass(frozen=True)
class Defaults:
    """How much is searched where a request is silent."""

    population_size: int = 20
    num_generations: int = 10
    num_samples: int = 50
    grace: int = 10
    """The least budget of a trial in ASHA."""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and what holds where it is silent."""

    defaults: Defaults = field(default_factory=Defaults)

    trials: int = 10_000
    """Configurations times tickers."""
    metric: str = "sharpe_ratio"
    mode: str = "max"
    threshold: float = 0.7
    digits: int = FLOAT_DIGITS
    """Significant digits to which two values of a hyper-parameter are the same."""


def admit(
    request: SearchRequest,
    *,
    tickers_available: Collection[str],
    algorithms: Mapping[str, Algorithm],
    limits: Limits,
    now: datetime,
) -> tuple[Reason, ...]:
    """Every fault of a request; empty: it can be searched.

    Args:
        request: as decoded.
        tickers_available: that have bars of the request's timeframe.
        algorithms: what is installed, by name.
        limits: of the service.
        now: to tell whether the request has expired.
    """
    faults = [
        *_time(request, now),
        *_known(request, tickers_available, algorithms),
        *_aim(request, limits),
        *_trading(request, limits),
        *_unused(request),
    ]
    if request.algorithm in algorithms:
        algorithm = algorithms[request.algorithm]
        faults += (_grid if request.strategy == "grid" else _space)(request, algorithm, limits)
    if len(faults) <= MOST_REASONS:
        return tuple(faults)
    message = f"{len(faults) - MOST_REASONS} more faults are not listed"
    return (*faults[:MOST_REASONS], Reason(code="more_faults", message=message))


def grid_of(request: SearchRequest, algorithm: Algorithm) -> Mapping[str, Sequence[Scalar]]:
    """The request's own grid, or the algorithm's where it names none."""
    return algorithm.default_grid if request.param_grid is None else request.param_grid


def space_of(request: SearchRequest, algorithm: Algorithm) -> Mapping[str, Dimension]:
    """The request's own space, or the algorithm's where it names none."""
    return algorithm.space if request.space is None else request.space


def trials_of(request: SearchRequest, algorithm: Algorithm, limits: Limits) -> int:
    """How many trials a request makes at most; exactly so many where none fails."""
    defaults = limits.defaults
    tickers = len(request.tickers)
    if request.strategy == "grid":
        return grid.size(grid_of(request, algorithm), limits.digits) * tickers
    if "num_samples" in STRATEGY_FIELDS[request.strategy]:
        different = space.size(space_of(request, algorithm), limits.digits)
        samples = request.num_samples or defaults.num_samples
        return (samples if different is None else min(samples, different)) * tickers
    population = request.population_size or defaults.population_size
    generations = request.num_generations or defaults.num_generations
    trials = population + (generations - 1) * max(1, population // 4)
    return trials if request.strategy == "multi_ticker_pbt" else trials * tickers


def _time(request: SearchRequest, now: datetime) -> Iterator[Reason]:
    if request.expires_at is not None and has_expired(request.expires_at, now):
        message = f"expired at {request.expires_at.isoformat()}; send it again with a later expires_at"
        yield Reason(code="expired", where="expires_at", message=message)
    if request.data_start is not None and request.data_end is not None and request.data_end <= request.data_start:
        yield Reason(code="empty_span", where="data_end", message="data_end must be after data_start")


def _known(
    request: SearchRequest,
    tickers_available: Collection[str],
    algorithms: Mapping[str, Algorithm],
) -> Iterator[Reason]:
    if request.algorithm not in algorithms:
        message = f"{request.algorithm} is not installed; choose one of: {', '.join(sorted(algorithms))}"
        yield Reason(code="unknown_algorithm", where="algorithm", message=message)
    for ticker in request.tickers:
        if ticker not in tickers_available:
            message = f"there are no {request.timeframe} features of {ticker}; put them into the feature source"
            yield Reason(code="unknown_ticker", where=f"tickers/{ticker}", message=message)


def _aim(request: SearchRequest, limits: Limits) -> Iterator[Reason]:
    metric, mode = request.metric or limits.metric, request.mode or limits.mode
    if metric not in HIGHER_IS_BETTER:
        message = f"{metric} cannot be optimised; choose one of: {', '.join(sorted(HIGHER_IS_BETTER))}"
        yield Reason(code="unknown_metric", where="metric", message=message)
    elif mode != (better := "max" if HIGHER_IS_BETTER[metric] else "min"):
        message = f"{mode} would select the worst by {metric}; ask for mode {better}"
        yield Reason(code="wrong_direction", where="mode", message=message)


def _trading(request: SearchRequest, limits: Limits) -> Iterator[Reason]:
    if request.session_policy == "flat_at_close" and not is_intraday(request.timeframe):
        message = f"bars of {request.timeframe} cannot be flat at the close; ask for session_policy hold"
        yield Reason(code="flat_at_close_needs_intraday", where="session_policy", message=message)
    threshold = (
        limits.threshold if request.deploy.threshold is None else min(limits.threshold, request.deploy.threshold)
    )
    if request.exit_threshold is not None and request.exit_threshold > threshold:
        message = f"{request.exit_threshold:g} is above the entry threshold {threshold:g}; give at most that"
        yield Reason(code="exit_above_entry", where="exit_threshold", message=message)


def _unused(request: SearchRequest) -> Iterator[Reason]:
    for name in sorted(frozenset().union(*STRATEGY_FIELDS.values()) - STRATEGY_FIELDS[request.strategy]):
        if getattr(request, name) is not None:
            message = f"a search of strategy {request.strategy} has no use for it; leave it out"
            yield Reason(code="not_for_strategy", where=name, message=message)


def _space(request: SearchRequest, algorithm: Algorithm, limits: Limits) -> Iterator[Reason]:
    dimensions = space_of(request, algorithm)
    if not dimensions:
        yield Reason(code="empty_space", where="space", message="name at least one dimension, or leave it out")
        return
    if len(dimensions) > MOST_PARAMETERS:
        yield _too_many_parameters("space", len(dimensions))
        return
    if faults := space.faults(dimensions):
        yield from faults
        return
    count = trials_of(request, algorithm, limits)
    if count > limits.trials:
        message = (
            f"these are {count} trials on {len(request.tickers)} tickers, more than {limits.trials}; ask for fewer"
        )
        yield Reason(code="too_many_trials", where="strategy", message=message)
    yield from _refused(algorithm, space.corners(dimensions), "space")


def _grid(request: SearchRequest, algorithm: Algorithm, limits: Limits) -> Iterator[Reason]:
    values = grid_of(request, algorithm)
    if not values:
        yield Reason(code="empty_grid", where="param_grid", message="name at least one parameter, or leave it out")
        return
    if len(values) > MOST_PARAMETERS:
        yield _too_many_parameters("param_grid", len(values))
        return
    count = grid.size(values, limits.digits)
    if count * len(request.tickers) > limits.trials:
        message = (
            f"{_figure(count)} configurations on {len(request.tickers)} tickers are more than {limits.trials} trials; "
            "name fewer values or tickers"
        )
        yield Reason(code="too_many_trials", where="param_grid", message=message)
        configurations = _one_at_a_time(values)
    else:
        configurations = iter(grid.expand(values, digits=limits.digits, limit=limits.trials))
    yield from _refused(algorithm, configurations, "param_grid")


def _refused(algorithm: Algorithm, configurations: Iterable[Mapping[str, Scalar]], where: str) -> Iterator[Reason]:
    """What the algorithm says against configurations, each thing once."""
    refused: dict[tuple[str, str, str], None] = {}
    for configuration in configurations:
        refused |= dict.fromkeys(
            (reason.code, f"{where}/{reason.where}"[:256], reason.message) for reason in algorithm.refuse(configuration)
        )
        # One more than is listed is enough to say that there are more.
        if len(refused) > MOST_REASONS:
            break
    for code, place, message in islice(refused, MOST_REASONS + 1):
        yield Reason(code=code, where=place, message=message)


def _too_many_parameters(where: str, count: int) -> Reason:
    message = f"{count} hyper-parameters are more than any algorithm has; name at most {MOST_PARAMETERS}"
    return Reason(code="too_many_parameters", where=where, message=message)


def _figure(count: int) -> str:
    """A count that may have any number of digits."""
    return str(count) if count < 10**9 else "more than 10^9"


def _one_at_a_time(values: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every value once, beside the first ones of the other parameters: what a grid too large to expand is judged by."""
    first = {name: choices[0] for name, choices in values.items()}
    return ({**first, name: value} for name, choices in values.items() for value in choices)
