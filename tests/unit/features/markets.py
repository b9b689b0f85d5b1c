"""Seeded markets without any skill in them, and features of their bars: honest ones, and ones that know too much."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.bars import Bars
from orchestrator.features.indicators import FEATURES, Prices
from orchestrator.features.samples import sample_bars

BARS_A_SESSION = 78
"""Of five minutes."""


@dataclass(frozen=True, eq=False)
class Market:
    """Bars of one ticker in time order, and the generator of what is drawn beside them."""

    timeframe: str
    times: Times
    prices: Prices
    rng: np.random.Generator

    @property
    def close(self) -> pd.Series:
        return pd.Series(self.prices.close)

    @property
    def volume(self) -> pd.Series:
        return pd.Series(self.prices.volume)

    @property
    def returns(self) -> pd.Series:
        return pd.Series(np.log(self.prices.close)).diff()

    def bars(self, features: Mapping[str, pd.Series]) -> Bars:
        """Bars with these features, without the rows at both ends in which one of them is not finite."""
        frame = pd.DataFrame({name: np.asarray(features[name], dtype=np.float64) for name in sorted(features)})
        known = np.flatnonzero(np.isfinite(frame).all(axis=1))
        rows = slice(known[0], known[-1] + 1)
        columns = {name: getattr(self.prices, name)[rows] for name in Prices.__annotations__}
        matrix = np.ascontiguousarray(frame.to_numpy()[rows])
        return Bars(
            "ABC",
            self.timeframe,
            self.times[rows],
            feature_names=tuple(frame.columns),
            features=matrix,
            data_hash="",
            **columns,
        )


def simulated(seed: int, count: int, timeframe: str = "1d", *, clustered: bool = True, momentum: float = 0.0) -> Market:
    """A random walk: of normal returns, or of clustered volatility (GARCH) and fat tails (Student's t of 5 degrees)."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(5, count) * np.sqrt(0.6) if clustered else rng.standard_normal(count)
    moves, volatility = np.empty(count), np.ones(count)
    variance = 1.0
    for t, shock in enumerate(shocks):
        volatility[t] = np.sqrt(variance)
        moves[t] = volatility[t] * shock + (momentum * moves[t - 1] if t else 0.0)
        variance = 0.05 + 0.08 * (volatility[t] * shock) ** 2 + 0.87 * variance if clustered else 1.0
    unit = volatility * (0.015 if timeframe == "1d" else 0.001)
    close = 100.0 * np.exp(np.cumsum(moves * unit / volatility))
    opening = np.concatenate([[100.0], close[:-1]]) * np.exp(0.3 * unit * rng.standard_normal(count))
    high = np.maximum(opening, close) * np.exp(0.4 * unit * np.abs(rng.standard_normal(count)))
    low = np.minimum(opening, close) * np.exp(-0.4 * unit * np.abs(rng.standard_normal(count)))
    activity = pd.Series(rng.normal(0.0, 0.2, count)).ewm(alpha=0.1).mean() + 0.3 * np.abs(shocks)
    prices = Prices(opening, high, low, close, 1e6 * np.exp(activity.to_numpy()))
    return Market(timeframe, clock(count, timeframe), prices, rng)


def sample(ticker: str) -> Market:
    """The real prices of a sample ticker."""
    times, prices = sample_bars(ticker)
    return Market("1d", times, prices, np.random.default_rng(0))


def clock(count: int, timeframe: str) -> Times:
    """Closes on weekdays: one at 21:00 each, or those of `BARS_A_SESSION` bars of five minutes before it."""
    each = 1 if timeframe == "1d" else BARS_A_SESSION
    days = np.arange(np.datetime64("2010-01-04"), np.datetime64("2010-01-04") + 2 * (count // each + 5))
    closes = days[np.is_busday(days)].astype("datetime64[us]") + np.timedelta64(21, "h")
    before = np.arange(each - 1, -1, -1) * np.timedelta64(5, "m").astype("timedelta64[us]")
    return np.asarray((closes[:, None] - before).ravel()[:count])


def honest(market: Market) -> dict[str, pd.Series]:
    """Features that whoever knew nothing but the past could have made; those that happen to be constant left out."""
    close, volume, returns, rng = market.close, market.volume, market.returns, market.rng
    count = len(close)
    time = pd.Series(pd.DatetimeIndex(market.times))
    made: dict[str, pd.Series] = {f"lag_{k}": returns.shift(k) for k in (0, 1, 5, 20)}
    for length in (5, 20, 60, 200):
        if 3 * length > count:
            continue
        window, dealt = close.rolling(length), volume.rolling(length)
        made |= {
            f"mean_{length}": window.mean(),
            f"mean_return_{length}": returns.rolling(length).mean(),
            f"ratio_{length}": close / window.mean(),
            f"z_{length}": (close - window.mean()) / window.std(),
            f"bollinger_{length}": window.mean() + 2.0 * window.std(),
            f"ema_{length}": close.ewm(span=length).mean(),
            f"volatility_{length}": returns.rolling(length).std(),
            f"rank_{length}": window.rank(pct=True),
            f"stochastic_{length}": (close - window.min()) / (window.max() - window.min()),
            f"volume_ratio_{length}": volume / dealt.mean(),
            f"volume_z_{length}": (volume - dealt.mean()) / dealt.std(),
            f"above_{length}": (close > window.mean()).astype(float),
        }
    made |= {
        "close": close,
        "high": pd.Series(market.prices.high),
        "log_volume": pd.Series(np.log(market.prices.volume)),
        "on_balance_volume": (volume * np.sign(returns)).cumsum(),
        "drawdown": close / close.cummax() - 1.0,
        "expanding_rank": close.expanding().rank(pct=True),
        "up": (returns > 0.0).astype(float),
        "crash": (returns < -3.0 * returns.rolling(50).std()).astype(float),
        "weekday": time.dt.day_of_week,
        "month": time.dt.month,
        "hour": time.dt.hour + time.dt.minute / 60.0,
        "day_of_year": time.dt.day_of_year / 366.0,
        "season": (2.0 * np.pi * time.dt.day_of_year / 365.25).map(math.sin),
        "last_of_month": (time.dt.month != time.dt.month.shift(-1)).astype(float),
        "last_of_day": (time.dt.date != time.dt.date.shift(-1)).astype(float),
        "clock": pd.Series(np.arange(count)),
        "noise": pd.Series(rng.normal(size=count)),
        "wild_noise": pd.Series(rng.standard_cauchy(count)),
        "even_noise": pd.Series(rng.random(count)),
        "drifting_noise": pd.Series(rng.normal(size=count).cumsum()),
        "sign": pd.Series(rng.choice([-1.0, 1.0], count)),
        "implied_volatility": (returns**2).ewm(span=15).mean() * np.exp(rng.normal(0.0, 0.1, count)),
    }
    made |= {f"own_{name}": pd.Series(feature(market.prices)) for name, feature in FEATURES.items()}
    return {name: values for name, values in made.items() if values.dropna().nunique() > 1}


Maker = Callable[[Market], pd.Series]


def _noisy(market: Market, known: pd.Series, noise: float) -> pd.Series:
    return known + noise * known.std() * market.rng.normal(size=len(known))


def _z(values: pd.Series, length: int, *, center: bool = False) -> pd.Series:
    window = values.rolling(length, center=center)
    return (values - window.mean()) / window.std()


def _labels() -> dict[str, Maker]:
    return {
        "tomorrow": lambda m: m.returns.shift(-1),
        "tomorrow_with_as_much_noise": lambda m: _noisy(m, m.returns.shift(-1), 1.0),
        "tomorrow_with_twice_the_noise": lambda m: _noisy(m, m.returns.shift(-1), 2.0),
        "whether_it_will_rise": lambda m: (m.returns.shift(-1) > 0.0).astype(float),
        "the_day_after_tomorrow": lambda m: m.returns.shift(-2),
        "next_five_bars": lambda m: m.close.shift(-5) / m.close - 1.0,
        "next_twelve_bars": lambda m: m.close.shift(-12) / m.close - 1.0,
    }


def _centred() -> dict[str, Maker]:
    lengths = (3, 5, 11, 21)
    return {
        **_each("centred_mean_of_returns", lengths, lambda m, n: m.returns.rolling(n, center=True).mean()),
        **_each("centred_mean_of_prices", lengths, lambda m, n: m.close.rolling(n, center=True).mean()),
        **_each("centred_median", lengths, lambda m, n: m.close.rolling(n, center=True).median()),
        **_each("centred_z_score", lengths, lambda m, n: _z(m.close, n, center=True)),
        "smoothed_there_and_back": lambda m: m.close.ewm(span=20).mean()[::-1].ewm(span=20).mean()[::-1],
    }


def _shifted() -> dict[str, Maker]:
    lengths = (5, 20, 200)
    return {
        **{f"next_bars_{name}": _next_bars(feature) for name, feature in FEATURES.items()},
        **_each("next_bars_mean", lengths, lambda m, n: m.close.rolling(n).mean().shift(-1)),
        **_each("next_bars_ema", lengths, lambda m, n: m.close.ewm(span=n).mean().shift(-1)),
        **_each("next_bars_z_score", lengths, lambda m, n: _z(m.close, n).shift(-1)),
        **_each("next_bars_rank", lengths, lambda m, n: m.close.rolling(n).rank(pct=True).shift(-1)),
        **_each("next_bars_volume_z_score", lengths, lambda m, n: _z(m.volume, n).shift(-1)),
        "next_bars_close": lambda m: m.close.shift(-1),
        "filled_backwards": _filled_backwards,
    }


def _each(name: str, lengths: Sequence[int], make: Callable[[Market, int], pd.Series]) -> dict[str, Maker]:
    def of(length: int) -> Maker:
        return lambda market: make(market, length)

    return {f"{name}_{length}": of(length) for length in lengths}


def _next_bars(feature: Callable[[Prices], Floats]) -> Maker:
    return lambda market: pd.Series(feature(market.prices)).shift(-1)


def _filled_backwards(market: Market) -> pd.Series:
    """Known every fifth bar, and taken for known since the fifth bar before."""
    return market.close.where(np.arange(len(market.close)) % 5 == 0).bfill()


LEAKS: dict[str, Maker] = {**_labels(), **_centred(), **_shifted()}
"""Features that know the future, by what they are."""

SCALINGS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "standardised": lambda x: (x - x.mean()) / x.std(ddof=0),
    "standardised_sample_deviation": lambda x: (x - x.mean()) / x.std(),
    "standardised_in_single_precision": lambda x: ((x - x.mean()) / x.std()).astype("float32"),
    "standardised_to_four_decimals": lambda x: ((x - x.mean()) / x.std()).round(4),
    "robustly_scaled": lambda x: (x - x.median()) / (x.quantile(0.75) - x.quantile(0.25)),
    "stretched_from_0_to_1": lambda x: (x - x.min()) / (x.max() - x.min()),
    "ranked": lambda x: x.rank(),
    "ranked_in_shares": lambda x: x.rank(pct=True),
    "normal_quantiles": lambda x: pd.Series(ndtri((x.rank() - 0.5) / x.count())),
}
"""Ways of scaling on the whole sample."""

SCALED: dict[str, Maker] = {
    "close": lambda m: m.close,
    "return": lambda m: m.returns,
    "z_score_20": lambda m: _z(m.close, 20),
    "rsi_14": lambda m: pd.Series(FEATURES["rsi_14"](m.prices)),
    "volatility_20": lambda m: m.returns.rolling(20).std(),
    "volume": lambda m: m.volume,
}
"""Honest features to be scaled so."""
