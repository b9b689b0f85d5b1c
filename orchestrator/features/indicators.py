"""Features of one instrument's bars: causal, and free of the instrument's price level and share count.

Every value at bar t is made from bars up to t only, in an order of additions that does not depend on how many bars
follow, so that cutting the future off leaves each earlier value the same to the last bit. Every feature keeps its value
when all prices or all volumes are multiplied by a constant: prices adjusted backwards for splits and dividends carry a
factor that is only known later, and it must not leak.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from orchestrator.core.arrays import Floats

FLAT = 1e-12
"""A spread below this share of its unit is rounding, not movement."""


@dataclass(frozen=True)
class Prices:
    """Bars in time order: five arrays of shape (n,); prices finite and above 0, volume finite and not negative."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def log_return(values: Floats, lag: int = 1) -> Floats:
    """Natural logarithm of the growth over `lag` bars; NaN for the first `lag`."""
    growth = np.full(len(values), np.nan)
    growth[lag:] = np.log(values[lag:] / values[:-lag])
    return growth


def rolling_mean(values: Floats, length: int) -> Floats:
    """Mean of the newest `length` values; NaN until there are as many."""
    return _over_window(np.add, values, length) / length


def rolling_deviation(values: Floats, length: int) -> Floats:
    """Population standard deviation of the newest `length` values; NaN until there are as many."""
    mean = rolling_mean(values, length)
    total = np.full(len(values), np.nan)
    end = len(values) - length + 1
    if end > 0:
        total[length - 1 :] = sum((values[k : k + end] - mean[length - 1 :]) ** 2 for k in range(length))
    return np.asarray(np.sqrt(total / length))


def z_score(values: Floats, length: int, unit: Floats | float = 1.0) -> Floats:
    """Distance of the newest value from its rolling mean in rolling standard deviations; 0 where nothing moved.

    `unit` is the size of the values, against which a spread is told from rounding.
    """
    spread = rolling_deviation(values, length)
    flat = spread <= FLAT * unit
    return np.where(flat, 0.0, (values - rolling_mean(values, length)) / np.where(flat, 1.0, spread))


def exponential_mean(values: Floats, weight: float, seed: int) -> Floats:
    """Recursive mean m_t = m_{t-1} + weight (x_t - m_{t-1}).

    Begins with the plain mean of the first `seed` values that are not NaN; NaN before it.
    """
    smoothed = np.full(len(values), np.nan)
    first = int(np.argmax(~np.isnan(values))) + seed - 1 if len(values) else 0
    if first >= len(values) or np.isnan(values).all():
        return smoothed
    start = sum(values[first - seed + 1 : first + 1].tolist()) / seed
    smoothed[first:] = list(
        accumulate(values[first + 1 :].tolist(), lambda mean, value: mean + weight * (value - mean), initial=start)
    )
    return smoothed


def relative_strength_index(close: Floats, length: int = 14) -> Floats:
    """Wilder's relative strength index, 0 to 100; 50 where nothing moved (J. Welles Wilder, New Concepts, 1978)."""
    change = np.full(len(close), np.nan)
    change[1:] = np.diff(close)
    gain = exponential_mean(np.where(np.isnan(change), np.nan, np.maximum(change, 0.0)), 1.0 / length, length)
    loss = exponential_mean(np.where(np.isnan(change), np.nan, np.maximum(-change, 0.0)), 1.0 / length, length)
    both = gain + loss
    flat = both <= FLAT * close
    return np.where(flat, 50.0, 100.0 * gain / np.where(flat, 1.0, both))


def macd(close: Floats, fast: int = 12, slow: int = 26, smooth: int = 9) -> tuple[Floats, Floats]:
    """Moving average convergence divergence: its line and its signal as shares of the close (Gerald Appel, 1979)."""
    line = exponential_mean(close, 2.0 / (fast + 1), fast) - exponential_mean(close, 2.0 / (slow + 1), slow)
    return line / close, exponential_mean(line, 2.0 / (smooth + 1), smooth) / close


def range_volatility(high: Floats, low: Floats, length: int = 20) -> Floats:
    """Volatility of one bar from the ranges of `length` bars (Michael Parkinson, 1980)."""
    return np.asarray(np.sqrt(rolling_mean(np.log(high / low) ** 2, length) / (4.0 * np.log(2.0))))


def range_position(high: Floats, low: Floats, close: Floats, length: int = 20) -> Floats:
    """Where the close stands in the range of `length` bars, 0 at its low, 1 at its high (George Lane's %K)."""
    top, bottom = _over_window(np.maximum, high, length), _over_window(np.minimum, low, length)
    flat = top - bottom <= FLAT * close
    return np.where(flat, 0.5, (close - bottom) / np.where(flat, 1.0, top - bottom))


def overnight_gap(opening: Floats, close: Floats) -> Floats:
    """Logarithm of the open over the previous close; NaN for the first bar."""
    gap = np.full(len(close), np.nan)
    gap[1:] = np.log(opening[1:] / close[:-1])
    return gap


def _over_window(combine: np.ufunc, values: Floats, length: int) -> Floats:
    """`combine` over the newest `length` values, oldest first; NaN until there are as many."""
    combined = np.full(len(values), np.nan)
    end = len(values) - length + 1
    if end > 0:
        newest = values[:end].copy()
        for k in range(1, length):
            combine(newest, values[k : k + end], out=newest)
        combined[length - 1 :] = newest
    return combined


def _volume_z_score(prices: Prices) -> Floats:
    return z_score(prices.volume, 20, unit=rolling_mean(prices.volume, 20))


FEATURES: dict[str, Callable[[Prices], Floats]] = {
    "return_1": lambda p: log_return(p.close),
    "return_z_score_20": lambda p: z_score(log_return(p.close), 20),
    "momentum_10": lambda p: log_return(p.close, 10),
    "momentum_60": lambda p: log_return(p.close, 60),
    "rsi_14": lambda p: relative_strength_index(p.close),
    "macd_line": lambda p: macd(p.close)[0],
    "macd_signal": lambda p: macd(p.close)[1],
    "volatility_20": lambda p: rolling_deviation(log_return(p.close), 20),
    "range_volatility_20": lambda p: range_volatility(p.high, p.low),
    "range_position_20": lambda p: range_position(p.high, p.low, p.close),
    "overnight_gap": lambda p: overnight_gap(p.open, p.close),
    "volume_z_score_20": _volume_z_score,
}
"""How each feature is made, by its name."""

WARM_UP = 60
"""Bars at the beginning for which at least one feature is NaN."""


def indicators(prices: Prices) -> dict[str, Floats]:
    """Every feature of `prices` by name, each of shape (n,): NaN for its own warm-up, finite after it."""
    return {name: feature(prices) for name, feature in FEATURES.items()}
