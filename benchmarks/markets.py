"""Seeded daily markets of which it is known what can be earned in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.calendar import Calendar
from orchestrator.core.position import positions, without_edge
from orchestrator.core.profit import net_returns
from orchestrator.features.indicators import Prices

DEVIATION = 0.01
"""Of the return of a bar, from one open to the next."""
GAP = 0.002
"""Deviation of the return from a close to the next open."""
START = datetime(2010, 1, 1, tzinfo=UTC)
END = datetime(2045, 1, 1, tzinfo=UTC)
_DRAWS = 200_000


@dataclass(frozen=True)
class Market:
    """What moves the prices.

    `edge` is the correlation of a hidden signal with the return that it foretells, which the volume of its bar shows;
    `drift` the annual Sharpe ratio of holding. With neither, prices are a martingale.
    """

    edge: float = 0.0
    drift: float = 0.0


@dataclass(frozen=True, eq=False)
class Tape:
    """A market's bars, oldest first: `closes` (n,) their times, and `foretold` (n,) the log return that the signal at
    each bar lets one expect from the open after it to the one after that, before drift."""

    closes: Times
    prices: Prices
    foretold: Floats


def tape(market: Market, seed: Sequence[int], bars: int, calendar: Calendar) -> Tape:
    """The bars that a seed makes of a market."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=bars)
    noise = rng.normal(size=bars)
    foretold = DEVIATION * market.edge * signal
    # Less half the variance, so that simple returns have the mean that is meant.
    mean = DEVIATION * market.drift / np.sqrt(calendar.sessions_per_year) - DEVIATION**2 / 2
    earned = foretold + DEVIATION * np.sqrt(1 - market.edge**2) * noise + mean
    # Foretold at the close of t, it is earned from the open of t + 1 to that of t + 2.
    opens = 100 * np.exp(np.cumsum(np.concatenate([np.zeros(2), earned])))[: bars + 1]
    close = opens[1:] * np.exp(GAP * rng.normal(size=bars))
    reach = np.exp(DEVIATION / 2 * np.abs(rng.normal(size=(2, bars))))
    return Tape(
        closes=calendar.session_closes(START, END)[:bars],
        prices=Prices(
            open=opens[:-1],
            high=np.maximum(opens[:-1], close) * reach[0],
            low=np.minimum(opens[:-1], close) / reach[1],
            close=close,
            volume=1e6 * np.exp(0.3 * signal),
        ),
        foretold=foretold,
    )


def edge_worth(sharpe: float, *, threshold: float, cost: float, sessions_per_year: float) -> float:
    """The edge whose ideal following is worth an annual Sharpe ratio, net of costs.

    The ideal follower knows the signal and its distribution, and holds what the position function says of it at these
    thresholds (the exit's is half), in the limit of many bars.
    """
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, _DRAWS))
    ranks = np.empty(_DRAWS)
    ranks[np.argsort(signal)] = np.linspace(-1, 1, _DRAWS)

    def worth(edge: float) -> float:
        foretold = DEVIATION * edge * signal
        scores = without_edge(ranks, foretold, threshold=threshold, cost=cost)
        held = positions(scores, threshold=threshold, exit_threshold=threshold / 2)
        net = net_returns(held, foretold + DEVIATION * np.sqrt(1 - edge**2) * noise, cost)
        return float(np.mean(net) / np.std(net) * np.sqrt(sessions_per_year))

    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if worth(middle) > sharpe else (middle, high)
    return high
