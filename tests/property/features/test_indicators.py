from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.features.indicators import WARM_UP, Prices, indicators

FIELDS = tuple(Prices.__annotations__)


@st.composite
def bars(draw: st.DrawFn, longest: int = 150) -> Prices:
    """Walks with flat spells, jumps and bars without volume."""
    count = draw(st.integers(2, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    moves = rng.normal(0.0, draw(st.sampled_from([1e-6, 0.01, 0.3])), count) * (
        rng.random(count) > draw(st.floats(0, 1))
    )
    close = draw(st.sampled_from([1e-4, 1.0, 250.0, 1e6])) * np.exp(np.cumsum(moves))
    opening = close * np.exp(rng.normal(0.0, 0.01, count) * (rng.random(count) > 0.3))
    high = np.maximum(opening, close) * np.exp(rng.exponential(0.01, count) * (rng.random(count) > 0.3))
    low = np.minimum(opening, close) * np.exp(-rng.exponential(0.01, count) * (rng.random(count) > 0.3))
    return Prices(opening, high, low, close, 1000.0 * rng.integers(0, 4, count).astype(np.float64))


def each(prices: Prices, change: Callable[[str, Floats], Floats]) -> Prices:
    return Prices(**{name: change(name, getattr(prices, name)) for name in FIELDS})


@given(bars(), st.data())
def test_cutting_off_the_future_changes_no_earlier_value_by_a_bit(prices: Prices, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(prices.close)))
    whole = indicators(prices)
    cut = indicators(each(prices, lambda _, values: values[:kept].copy()))
    for name, values in cut.items():
        assert values.tobytes() == whole[name][:kept].tobytes(), name


@given(bars(), st.data())
def test_another_future_changes_no_earlier_value_by_a_bit(prices: Prices, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(prices.close)))
    factor = data.draw(st.floats(0.1, 10.0))
    other = indicators(each(prices, lambda _, values: np.concatenate([values[:kept], values[kept:] * factor])))
    for name, values in indicators(prices).items():
        assert values[:kept].tobytes() == other[name][:kept].tobytes(), name


@given(bars(), st.integers(-20, 20), st.integers(-20, 20))
def test_scaling_all_prices_or_volumes_changes_no_feature(prices: Prices, price: int, volume: int) -> None:
    # By powers of two, which round nothing: what is left of a change would be a true dependence on the level.
    scaled = each(prices, lambda name, values: values * 2.0 ** (volume if name == "volume" else price))
    for name, values in indicators(scaled).items():
        np.testing.assert_array_equal(values, indicators(prices)[name], err_msg=name)


@given(bars())
def test_every_feature_is_finite_after_the_warm_up_whatever_the_bars(prices: Prices) -> None:
    for name, values in indicators(prices).items():
        assert np.isfinite(values[WARM_UP:]).all(), name
        known = values[np.isfinite(values)]
        assert np.isfinite(values[len(values) - len(known) :]).all(), f"{name} has a gap"


@given(bars())
def test_the_bounded_features_keep_their_bounds(prices: Prices) -> None:
    made = indicators(prices)
    bounds = {"rsi_14": (0, 100), "range_position_20": (0, 1), "volume_z_score_20": (-4.4, 4.4)}
    for name, (low, high) in bounds.items():
        values = made[name][~np.isnan(made[name])]
        assert ((values >= low - 1e-9) & (values <= high + 1e-9)).all(), name
