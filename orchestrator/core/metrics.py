"""Metrics of a trial: what its positions earned out of fold, after costs."""

import math

import numpy as np

from orchestrator.core.arrays import Floats, Integers, Positions
from orchestrator.core.deflation import NO_VARIANCE, moments, psr
from orchestrator.core.profit import by_session, changes
from schemas.search import SearchRequest

Metrics = dict[str, float | None]

HIGHER_IS_BETTER: dict[str, bool] = {
    "sharpe_ratio": True,
    "sortino_ratio": True,
    "max_drawdown": False,
    "turnover": False,
    "hit_rate": True,
    "psr": True,
    "net_return": True,
}
"""The metrics that a search may optimise, and in which direction."""
OBJECTIVE = "objective"
"""The metric of a trial on several tickers: the mean over tickers of the metric that is searched by, plus the worst."""


def is_together(request: SearchRequest) -> bool:
    """Whether a trial of the request is one configuration on all of its tickers."""
    return request.strategy == "multi_ticker_pbt" and len(request.tickers) > 1


def score(
    net: Floats, bar_return: Floats, positions: Positions, session: Integers, sessions_per_year: float
) -> Metrics:
    """The metrics of consecutive bars, all (n,) and without NaN; the position before the first bar is 0.

    - `sharpe_ratio`: mean over sample deviation of profit by session, flat sessions included, times the square root of
      `sessions_per_year` (Sharpe, 1994, against a benchmark of 0).
    - `sortino_ratio`: the same over the root mean square of losing sessions (Sortino and van der Meer, 1991).
    - `max_drawdown`: the largest fall of cumulated profit from its peak, at least 0, as a share of the stake.
    - `turnover`: units of position traded by session.
    - `hit_rate`: share of the bars held, with a price that moved, on which the price moved the position's way.
    - `trades`: positions entered.
    - `exposure`: share of bars held.
    - `psr`: the probability that the true Sharpe ratio is above 0.
    - `net_return`: cumulated profit after costs, as a share of the stake, not compounded.
    - `break_even_bps`: the cost by unit traded at which `net_return` would be 0, in basis points; may be negative.

    A ratio without its denominator is None, never infinite.
    """
    _, profit = by_session(net, session)
    observed = moments(profit)
    traded = changes(positions)
    held = positions != 0
    gained = positions * bar_return
    moved = gained != 0.0
    units = float(traded.sum())
    return {
        "sharpe_ratio": None if observed is None else observed.sharpe * math.sqrt(sessions_per_year),
        "sortino_ratio": _sortino(profit, sessions_per_year),
        "max_drawdown": _drawdown(profit) if len(profit) else None,
        "turnover": units / len(profit) if len(profit) else None,
        "hit_rate": float(np.mean(gained[moved] > 0.0)) if moved.any() else None,
        "trades": float(np.count_nonzero((traded > 0) & held)),
        "exposure": float(np.mean(held)) if len(held) else None,
        "psr": None if observed is None else psr(observed),
        "net_return": float(net.sum()),
        "break_even_bps": 10_000 * float(gained.sum()) / units if units else None,
    }


def _sortino(profit: Floats, sessions_per_year: float) -> float | None:
    if not len(profit):
        return None
    downside = math.sqrt(float(np.mean(np.minimum(profit, 0.0) ** 2)))
    if downside <= NO_VARIANCE * float(np.max(np.abs(profit))):
        return None
    return float(np.mean(profit)) / downside * math.sqrt(sessions_per_year)


def _drawdown(profit: Floats) -> float:
    cumulated = np.concatenate(([0.0], np.cumsum(profit)))
    return float(np.max(np.maximum.accumulate(cumulated) - cumulated))
