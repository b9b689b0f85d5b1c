import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest

from orchestrator.core.lookahead import LEAST_ROWS, scaling, suspects
from orchestrator.features.samples import SAMPLE_TICKERS
from schemas.base import Reason
from tests.unit.features.markets import LEAKS, SCALED, SCALINGS, Maker, Market, honest, sample, simulated

pytestmark = pytest.mark.slow

MARKETS: dict[str, Callable[[], Market]] = {
    "daily_random_walk": lambda: simulated(11, 2500, clustered=False),
    "daily_clustered": lambda: simulated(12, 2500, momentum=0.05),
    "intraday_random_walk": lambda: simulated(13, 6000, "5m", clustered=False),
    "intraday_clustered": lambda: simulated(14, 6000, "5m", momentum=0.05),
    **{ticker: partial(sample, ticker) for ticker in SAMPLE_TICKERS},
}


@cache
def escaped(market: str) -> set[str]:
    """The planted features that are not refused for knowing the future."""
    of = MARKETS[market]()
    bars = of.bars({name: make(of) for name, make in LEAKS.items()})
    return set(LEAKS) - named(suspects(bars), "knows_the_future")


def named(reasons: tuple[Reason, ...], code: str) -> set[str]:
    """The features that are refused with this code."""
    return {reason.where.rpartition("/")[2] for reason in reasons if reason.code == code}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_feature_that_knows_the_future_is_refused_by_name_on_every_market(leak: str) -> None:
    assert [market for market in MARKETS if leak in escaped(market)] == []


@pytest.mark.parametrize("market", MARKETS)
def test_no_honest_feature_is_refused(market: str) -> None:
    of = MARKETS[market]()
    assert suspects(of.bars(honest(of))) == ()


@pytest.mark.parametrize("way", SCALINGS)
@pytest.mark.parametrize("feature", SCALED)
def test_a_feature_that_was_scaled_on_the_whole_sample_is_refused_by_name(way: str, feature: str) -> None:
    market = simulated(21, 1500)
    scaled = SCALINGS[way](SCALED[feature](market))
    assert named(suspects(market.bars({feature: scaled})), "scaled_on_the_whole_sample") == {feature}
    if scaled.isna().any():
        assert suspects(market.bars({feature: scaled, "volume": market.volume}))


@pytest.mark.parametrize("way", SCALINGS)
def test_a_part_of_a_scaled_sample_shows_nothing(way: str) -> None:
    market = simulated(22, 1500)
    scaled = SCALINGS[way](market.close).to_numpy(dtype=np.float64)
    assert scaling(scaled) is not None
    assert scaling(scaled[300:]) is None


NEW = "What is new in it since the bar before correlates by"
STAYS_BELOW = "What is known at a bar's close stays below"
DO = "make it of its own bar and earlier ones, without centred windows or shifts, or leave it out."
FORESIGHT: dict[str, tuple[Maker, str]] = {
    "tomorrow": (
        lambda m: m.returns.shift(-1),
        f"{NEW} 0.99 with the next bar's return over 1992 bars (t 33). {STAYS_BELOW} 0.25: {DO}",
    ),
    "centred_mean": (
        lambda m: m.close.rolling(21, center=True).mean(),
        f"{NEW} 0.65 with the return 10 bars ahead over 1964 bars (t 25). {STAYS_BELOW} 0.25: {DO}",
    ),
    "volume_of_the_next_bar": (
        lambda m: (m.volume / m.volume.rolling(20).mean()).shift(-1),
        f"{NEW} 0.93 with the next bar's volume over 1974 bars (t 32). {STAYS_BELOW} 0.40: {DO}",
    ),
}


@pytest.mark.parametrize("feature", FORESIGHT)
def test_a_reason_says_which_figure_gives_the_feature_away_and_what_to_do(feature: str) -> None:
    make, message = FORESIGHT[feature]
    market = simulated(41, 2000)
    expected = Reason(code="knows_the_future", where=f"ABC/1d/{feature}", message=message)
    assert suspects(market.bars({feature: make(market)})) == (expected,)


def test_a_reason_says_by_which_sign_the_scaling_shows_and_what_to_do() -> None:
    message = (
        "Its 2000 values have mean 0 and standard deviation 1: only the whole sample tells how to scale them so. Give "
        "them unscaled, since training scales by the rows that it may see, or scale them by a trailing window."
    )
    assert scaling(SCALINGS["standardised"](simulated(41, 2000).close).to_numpy()) == message


def foretold(market: Market, correlation: float) -> pd.Series:
    """A forecast of the next return with this correlation."""
    tomorrow = market.returns.shift(-1)
    spread = float(tomorrow.std()) * math.sqrt(1.0 / correlation**2 - 1.0)
    return tomorrow + market.rng.normal(0.0, spread, len(tomorrow))


@pytest.mark.parametrize(("timeframe", "correlation"), [("1d", 0.05), ("1d", 0.15), ("5m", 0.05), ("5m", 0.1)])
def test_a_forecast_that_a_market_may_allow_is_not_refused(timeframe: str, correlation: float) -> None:
    for seed in range(10):
        market = simulated(seed, 3000, timeframe)
        assert suspects(market.bars({"forecast": foretold(market, correlation)})) == ()


@pytest.mark.parametrize(("timeframe", "correlation"), [("1d", 0.35), ("5m", 0.25)])
def test_a_forecast_that_no_market_allows_is_refused_although_it_is_mostly_noise(
    timeframe: str, correlation: float
) -> None:
    for seed in range(10):
        market = simulated(seed, 3000, timeframe)
        assert named(suspects(market.bars({"forecast": foretold(market, correlation)})), "knows_the_future")


def test_what_a_markets_own_past_foretells_is_no_foresight() -> None:
    """A trade at the bid is followed by one at the ask, and a spread comes back to its mean."""
    rng = np.random.default_rng(5)
    walk = simulated(51, 3000, "5m")
    bounced = walk.prices.close * np.exp(rng.choice([-0.0003, 0.0003], 3000))
    spread = 50.0 * np.exp(0.01 * pd.Series(rng.normal(size=3000)).ewm(alpha=0.07).mean() / 0.07)
    for timeframe, close in (("5m", bounced), ("1d", spread.to_numpy())):
        prices = replace(walk.prices, close=close, high=np.maximum(walk.prices.high, close))
        market = replace(walk, timeframe=timeframe, prices=replace(prices, low=np.minimum(prices.low, close)))
        assert market.returns.autocorr() < -0.03
        assert suspects(market.bars({"return": market.returns, "mean": close / market.close.rolling(20).mean()})) == ()


def test_too_few_bars_or_no_features_show_nothing() -> None:
    market = simulated(61, 200)
    bars = market.bars({"tomorrow": market.returns.shift(-1)})
    assert suspects(bars.head(LEAST_ROWS))
    assert suspects(bars.head(LEAST_ROWS - 1)) == ()
    assert suspects(replace(bars, feature_names=(), features=np.empty((len(bars), 0)))) == ()


def test_bars_of_closes_alone_are_judged_by_their_returns() -> None:
    market = simulated(62, 1000)
    bars = market.bars({"tomorrow": market.returns.shift(-1), "today": market.returns})
    assert named(suspects(replace(bars, open=None, high=None, low=None, volume=None)), "knows_the_future") == {
        "tomorrow"
    }


def test_each_of_several_faults_is_named_in_the_order_of_the_features() -> None:
    market = simulated(31, 1500)
    tomorrow = market.returns.shift(-1)
    features = {"b": tomorrow, "a": market.returns, "c": (tomorrow - tomorrow.mean()) / tomorrow.std()}
    bars = market.bars(features)
    whole = replace(bars, features=bars.features.copy())
    whole.features[:, 2] = (bars.features[:, 2] - bars.features[:, 2].mean()) / bars.features[:, 2].std()
    assert [(reason.code, reason.where) for reason in suspects(whole)] == [
        ("knows_the_future", "ABC/1d/b"),
        ("knows_the_future", "ABC/1d/c"),
        ("scaled_on_the_whole_sample", "ABC/1d/c"),
    ]
