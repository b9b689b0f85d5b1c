"""Admission: whether a search request asks for something that can be done."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

from orchestrator.core import grid
from orchestrator.core.calendar import is_intraday
from orchestrator.core.metrics import HIGHER_IS_BETTER
from schemas.base import Reason, Scalar
from schemas.search import SearchRequest

MOST_REASONS = 50
"""Reasons that a rejection carries; one more says how many were left out, so that the message stays small."""


class Algorithm(Protocol):
    """The part of a trainer that admission asks."""

    @property
    def default_grid(self) -> Mapping[str, tuple[Scalar, ...]]:
        """Values by hyper-parameter, for a grid search that names none."""
        ...

    def refuse(self, configuration: Mapping[str, Scalar]) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and what holds where it is silent."""

    trials: int = 10_000
    """Configurations times tickers."""
    metric: str = "sharpe_ratio"
    mode: str = "max"
    threshold: float = 0.7


def admit(
    request: SearchRequest,
    *,
    tickers_available: Collection[str],
    algorithms: Mapping[str, Algorithm],
    strategies: Collection[str],
    limits: Limits,
    now: datetime,
) -> tuple[Reason, ...]:
    """Every fault of a request; empty: it can be searched.

    Args:
        request: as decoded.
        tickers_available: that have bars of the request's timeframe.
        algorithms: what is installed, by name.
        strategies: what can be run.
        limits: of the service.
        now: to tell whether the request has expired.
    """
    faults = [
        *_time(request, now),
        *_known(request, tickers_available, algorithms, strategies),
        *_aim(request, limits),
        *_trading(request, limits),
        *_unused(request),
    ]
    if request.strategy == "grid" and request.algorithm in algorithms:
        faults += _grid(request, algorithms[request.algorithm], limits)
    if len(faults) <= MOST_REASONS:
        return tuple(faults)
    message = f"{len(faults) - MOST_REASONS} more faults are not listed"
    return (*faults[:MOST_REASONS], Reason(code="more_faults", message=message))


def grid_of(request: SearchRequest, algorithm: Algorithm) -> Mapping[str, Sequence[Scalar]]:
    """The request's own grid, or the algorithm's where it names none."""
    return algorithm.default_grid if request.param_grid is None else request.param_grid


def _time(request: SearchRequest, now: datetime) -> Iterator[Reason]:
    if request.expires_at is not None and request.expires_at <= now:
        message = f"expired at {request.expires_at.isoformat()}; send it again with a later expires_at"
        yield Reason(code="expired", where="expires_at", message=message)
    if request.data_start is not None and request.data_end is not None and request.data_end <= request.data_start:
        yield Reason(code="empty_span", where="data_end", message="data_end must be after data_start")


def _known(
    request: SearchRequest,
    tickers_available: Collection[str],
    algorithms: Mapping[str, Algorithm],
    strategies: Collection[str],
) -> Iterator[Reason]:
    if request.strategy not in strategies:
        message = f"{request.strategy} is not available; choose one of: {', '.join(sorted(strategies))}"
        yield Reason(code="unknown_strategy", where="strategy", message=message)
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
    if request.strategy != "grid":
        return
    for name in ("space", "population_size", "num_generations", "num_samples", "search_alg"):
        if getattr(request, name) is not None:
            yield Reason(code="not_for_strategy", where=name, message="a grid search has no use for it; leave it out")


def _grid(request: SearchRequest, algorithm: Algorithm, limits: Limits) -> Iterator[Reason]:
    values = grid_of(request, algorithm)
    if not values:
        yield Reason(code="empty_grid", where="param_grid", message="name at least one parameter, or leave it out")
        return
    count = grid.size(values)
    if count * len(request.tickers) > limits.trials:
        message = (
            f"{count} configurations on {len(request.tickers)} tickers are {count * len(request.tickers)} trials, "
            f"more than {limits.trials}; name fewer values or tickers"
        )
        yield Reason(code="too_many_trials", where="param_grid", message=message)
        configurations = _one_at_a_time(values)
    else:
        configurations = iter(grid.expand(values, limit=limits.trials))
    refused = dict.fromkeys(
        (reason.code, f"param_grid/{reason.where}"[:256], reason.message)
        for configuration in configurations
        for reason in algorithm.refuse(configuration)
    )
    # One more than is listed is enough to say that there are more.
    for code, where, message in islice(refused, MOST_REASONS + 1):
        yield Reason(code=code, where=where, message=message)


def _one_at_a_time(values: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every value once, beside the first ones of the other parameters: what a grid too large to expand is judged by."""
    first = {name: choices[0] for name, choices in values.items()}
    return ({**first, name: value} for name, choices in values.items() for value in choices)
