import numpy as np
import pandas as pd
import pytest

from orchestrator.core.arrays import Floats
from orchestrator.features.indicators import (
    FEATURES,
    WARM_UP,
    Prices,
    exponential_mean,
    indicators,
    log_return,
    macd,
    range_volatility,
    relative_strength_index,
    rolling_deviation,
    z_score,
)


def random_prices(count: int, seed: int = 7) -> Prices:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, count)))
    opening = close * np.exp(rng.normal(0.0, 0.01, count))
    high = np.maximum(opening, close) * np.exp(rng.exponential(0.005, count))
    low = np.minimum(opening, close) * np.exp(-rng.exponential(0.005, count))
    return Prices(opening, high, low, close, rng.integers(1, 10_000, count).astype(float))


def flat_prices(count: int) -> Prices:
    same: Floats = np.full(count, 10.0)
    return Prices(same, same, same, same, np.zeros(count))


def test_relative_strength_index_gives_the_worked_example_of_the_chart_schools() -> None:
    first = [44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245]
    then = [45.8433, 46.0826, 45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028]
    index = relative_strength_index(np.array([*first, *then]))
    assert np.isnan(index[:14]).all()
    assert index[14:] == pytest.approx([70.53, 66.32], abs=0.01)


def test_relative_strength_index_is_100_where_every_bar_gains_and_0_where_every_bar_loses() -> None:
    rising = np.linspace(10.0, 20.0, 40)
    assert (relative_strength_index(rising)[14:] == 100.0).all()
    assert (relative_strength_index(rising[::-1].copy())[14:] == 0.0).all()


def test_rolling_figures_agree_with_pandas() -> None:
    returns = log_return(random_prices(200).close)
    window = pd.Series(returns).rolling(20)
    np.testing.assert_allclose(rolling_deviation(returns, 20), window.std(ddof=0), rtol=1e-9)
    expected = (pd.Series(returns) - window.mean()) / window.std(ddof=0)
    np.testing.assert_allclose(z_score(returns, 20), expected, rtol=1e-9)


def test_exponential_mean_begins_with_the_plain_mean_and_then_follows_its_recursion() -> None:
    values = np.array([np.nan, 1.0, 2.0, 3.0, 10.0, 0.0])
    np.testing.assert_allclose(exponential_mean(values, 0.5, 3), [np.nan, np.nan, np.nan, 2.0, 6.0, 3.0])


def test_macd_is_the_difference_of_the_exponential_means_as_a_share_of_the_close() -> None:
    close = random_prices(120).close
    line, signal = macd(close)
    difference = exponential_mean(close, 2 / 13, 12) - exponential_mean(close, 2 / 27, 26)
    np.testing.assert_allclose(line, difference / close)
    np.testing.assert_allclose(signal, exponential_mean(difference, 2 / 10, 9) / close)


def test_range_volatility_of_equal_ranges_is_the_range_over_the_square_root_of_four_ln_two() -> None:
    low = np.full(25, 100.0)
    assert range_volatility(low * np.exp(0.02), low)[-1] == pytest.approx(0.02 / np.sqrt(4 * np.log(2)))


def test_a_planted_jump_shows_in_the_features_that_are_about_it() -> None:
    prices = random_prices(100)
    opening = prices.open.copy()
    opening[80] = prices.close[79] * 1.5
    volume = prices.volume.copy()
    volume[80] = 1e6
    made = indicators(Prices(opening, prices.high, prices.low, prices.close, volume))
    assert made["overnight_gap"][80] == pytest.approx(np.log(1.5))
    assert made["volume_z_score_20"][80] == pytest.approx(19 / np.sqrt(19), rel=0.01)


def test_every_feature_is_finite_from_the_end_of_the_warm_up_on() -> None:
    made = indicators(random_prices(WARM_UP + 20))
    assert list(made) == list(FEATURES)
    assert all(np.isfinite(values[WARM_UP:]).all() for values in made.values())
    assert any(np.isnan(values[WARM_UP - 1]) for values in made.values())


def test_where_nothing_moves_every_feature_has_its_neutral_value() -> None:
    made = {name: values[-1] for name, values in indicators(flat_prices(WARM_UP + 5)).items()}
    neutral = dict.fromkeys(FEATURES, 0.0) | {"rsi_14": 50.0, "range_position_20": 0.5}
    assert made == neutral


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_too_few_bars_give_nan_and_no_error(count: int) -> None:
    made = indicators(random_prices(count))
    assert all(values.shape == (count,) for values in made.values())
    assert np.isnan(made["momentum_60"]).all()
