import inspect
from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.features import indicators as module
from orchestrator.features.indicators import WARM_UP, Prices, indicators

FIELDS = tuple(Prices.__annotations__)
Made = Floats | tuple[Floats, ...] | dict[str, Floats]
MADE: dict[str, Callable[[Prices], Made]] = {
    "log_return": lambda p: module.log_return(p.close, 7),
    "rolling_mean": lambda p: module.rolling_mean(p.close, 9),
    "rolling_deviation": lambda p: module.rolling_deviation(p.close, 9),
    "z_score": lambda p: module.z_score(p.close, 9, p.close),
    "exponential_mean": lambda p: module.exponential_mean(p.close, 0.2, 5),
    "relative_strength_index": lambda p: module.relative_strength_index(p.close, 5),
    "macd": lambda p: module.macd(p.close, 3, 8, 4),
    "range_volatility": lambda p: module.range_volatility(p.high, p.low, 6),
    "range_position": lambda p: module.range_position(p.high, p.low, p.close, 6),
    "overnight_gap": lambda p: module.overnight_gap(p.open, p.close),
    "indicators": indicators,
}
"""What each function of the module makes of prices, by its name."""


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


def test_every_function_of_the_module_is_held_to_its_promises() -> None:
    functions = [
        made for _, made in inspect.getmembers(module, inspect.isfunction) if made.__module__ == module.__name__
    ]
    assert {made.__name__ for made in functions if not made.__name__.startswith(("_", "<"))} == set(MADE)


@given(bars(), st.data())
def test_cutting_off_the_future_changes_no_earlier_value_by_a_bit(prices: Prices, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(prices.close)))
    cut = each(prices, lambda _, values: values[:kept].copy())
    for function, make in MADE.items():
        for name, values in columns(make(cut)).items():
            assert values.tobytes() == columns(make(prices))[name][:kept].tobytes(), f"{function} {name}"


def columns(made: Made) -> dict[str, Floats]:
    if isinstance(made, dict):
        return made
    return {str(place): values for place, values in enumerate(made if isinstance(made, tuple) else (made,))}


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
