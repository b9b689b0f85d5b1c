from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.lookahead import scaling, suspects
from tests.unit.features.markets import LEAKS, SCALED, SCALINGS, Market, honest, simulated

pytestmark = pytest.mark.slow

markets = st.builds(
    simulated,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(200, 1500),
    timeframe=st.sampled_from(["1d", "5m"]),
    clustered=st.booleans(),
    momentum=st.sampled_from([-0.05, 0.0, 0.05]),
)
long_markets = st.builds(
    simulated,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1200, 1500),
    timeframe=st.sampled_from(["1d", "5m"]),
    clustered=st.booleans(),
)
UNMISTAKABLE = (
    "tomorrow",
    "tomorrow_with_as_much_noise",
    "next_five_bars",
    "centred_mean_of_returns_5",
    "centred_mean_of_prices_21",
    "centred_median_11",
    "next_bars_rsi_14",
    "next_bars_macd_line",
    "next_bars_mean_20",
    "next_bars_z_score_20",
    "next_bars_volatility_20",
)


@given(markets)
@settings(max_examples=25)
def test_on_no_market_is_an_honest_feature_refused(market: Market) -> None:
    assert suspects(market.bars(honest(market))) == ()


@given(long_markets)
@settings(max_examples=20)
def test_on_every_market_what_plainly_knows_the_future_is_refused(market: Market) -> None:
    bars = market.bars({name: LEAKS[name](market) for name in UNMISTAKABLE})
    assert {reason.where.rpartition("/")[2] for reason in suspects(bars)} == set(UNMISTAKABLE)


@given(markets, st.sampled_from(sorted(SCALED)), st.sampled_from(["standardised", "robustly_scaled", "ranked"]))
@settings(max_examples=40)
def test_on_every_market_what_was_scaled_on_the_whole_sample_shows_it(market: Market, feature: str, way: str) -> None:
    honestly = SCALED[feature](market)
    assert scaling(honestly.to_numpy()) is None
    assert scaling(SCALINGS[way](honestly).to_numpy(dtype=np.float64)) is not None


@given(markets, st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
@settings(max_examples=30)
def test_units_of_a_feature_and_of_prices_change_no_verdict(
    market: Market, shift: float, scale: float, upside_down: bool
) -> None:
    made = {"tomorrow": market.returns.shift(-1), "today": market.returns, "mean": market.close.rolling(5).mean()}
    bars = market.bars(made)
    spread = bars.features.std(axis=0)
    moved = replace(bars, features=(bars.features / spread + shift) * (-scale if upside_down else scale))
    dearer = replace(
        bars, close=bars.close * scale, high=None, low=None, open=None, volume=None, features=bars.features
    )
    for other in (moved, dearer):
        assert [reason.where for reason in suspects(other)] == [reason.where for reason in suspects(bars)]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=150).map(np.array))
def test_whatever_the_values_scaling_is_judged(values: np.ndarray) -> None:
    found = scaling(np.asarray(values, dtype=np.float64))
    assert found is None or found.startswith("Its ")


@given(st.integers(0, 2**32 - 1), st.integers(100, 300))
def test_values_without_a_scale_of_their_own_show_no_scaling(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    for values in (
        rng.normal(size=count),
        rng.random(count),
        rng.integers(0, 2, count),
        rng.normal(size=count).cumsum(),
    ):
        assert scaling(np.asarray(values, dtype=np.float64)) is None


@given(long_markets, st.integers(2, 200))
@settings(max_examples=20)
def test_a_trailing_scale_is_no_scaling_on_the_whole_sample(market: Market, length: int) -> None:
    window = market.close.rolling(length)
    expanding = market.close.expanding(2)
    trailing: list[pd.Series] = [
        (market.close - window.mean()) / window.std(),
        (market.close - expanding.mean()) / expanding.std(),
        window.rank(pct=True),
        expanding.rank(pct=True),
    ]
    assert [scaling(values.to_numpy()) for values in trailing] == [None] * 4
