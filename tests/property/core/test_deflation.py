import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.deflation import (
    Cohort,
    Moments,
    expected_maximum,
    moments,
    psr,
    trial_variance,
)

sharpe = st.floats(-2, 2)


@st.composite
def observed(draw: st.DrawFn) -> Moments:
    """Any four figures that a profit series can have: kurtosis is at least 1 + skewness squared."""
    skew = draw(st.floats(-3, 3))
    return Moments(draw(sharpe), draw(st.integers(2, 5000)), skew, 1 + skew**2 + draw(st.floats(0, 20)))


@given(observed(), sharpe, sharpe)
def test_the_probability_is_one_and_falls_as_the_benchmark_rises(seen: Moments, one: float, other: float) -> None:
    low, high = psr(seen, min(one, other)), psr(seen, max(one, other))
    assert (low is None) == (high is None)
    if low is not None and high is not None:
        assert 0 <= high <= low <= 1


@given(observed(), st.integers(1, 5000))
def test_a_longer_record_is_more_certain(seen: Moments, more: int) -> None:
    short, long = psr(seen), psr(Moments(seen.sharpe, seen.sessions + more, seen.skew, seen.kurtosis))
    assume(short is not None and long is not None)
    assert short is not None
    assert long is not None
    assert abs(long - 0.5) >= abs(short - 0.5)


@given(observed(), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_more_trials_or_more_variance_never_help(seen: Moments, n1: int, n2: int, v1: float, v2: float) -> None:
    few, many, low, high = min(n1, n2), max(n1, n2), min(v1, v2), max(v1, v2)
    assert 0 <= expected_maximum(few, low) <= expected_maximum(many, low) + 1e-12
    assert expected_maximum(many, low) <= expected_maximum(many, high)
    lenient, strict = psr(seen, expected_maximum(few, low)), psr(seen, expected_maximum(many, high))
    if lenient is not None and strict is not None:
        assert strict <= lenient + 1e-12


@given(st.integers(0, 2**32 - 1), st.integers(3, 80), st.floats(1e-6, 1e6))
def test_moments_do_not_depend_on_scale_or_order(seed: int, count: int, scale: float) -> None:
    profit = np.random.default_rng(seed).normal(0.1, 1, count)
    seen, scaled, reversed_ = moments(profit), moments(profit * scale), moments(profit[::-1])
    assert seen is not None
    for other in (scaled, reversed_):
        assert other is not None
        assert (other.sharpe, other.skew, other.kurtosis) == pytest.approx((seen.sharpe, seen.skew, seen.kurtosis))
    assert seen.kurtosis >= 1 + seen.skew**2 - 1e-9


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(3, 40))
def test_the_variance_of_trials_does_not_depend_on_their_order_or_scale(seed: int, count: int, sessions: int) -> None:
    random = np.random.default_rng(seed)
    profit = random.normal(size=(count, sessions))
    later = random.normal(size=(count, 2 * sessions))
    tickers = random.choice(list("ABC"), size=count)
    ratios = random.normal(size=count)
    found = trial_variance(ratios.tolist(), [Cohort(profit, tickers.tolist()), Cohort(later, tickers.tolist())])
    order = random.permutation(count)
    scaled = profit[order] * random.uniform(0.1, 10, size=(count, 1))
    again = trial_variance(
        ratios[order].tolist(), [Cohort(later, tickers.tolist()), Cohort(scaled, tickers[order].tolist())]
    )
    assert again == pytest.approx(found, rel=1e-9, abs=1e-12)
    assert 0 <= found <= np.var(ratios, ddof=1) + 1e-15
