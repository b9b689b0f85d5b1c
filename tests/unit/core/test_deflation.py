import math

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import (
    Cohort,
    Moments,
    expected_maximum,
    moments,
    psr,
    trial_variance,
)

PAPER = Moments(sharpe=0.1, sessions=1260, skew=-0.5, kurtosis=5.0)


def test_golden_figures() -> None:
    assert expected_maximum(100, 0.0009) == pytest.approx(0.075918, abs=5e-7)
    assert psr(PAPER, expected_maximum(100, 0.0009)) == pytest.approx(0.796716, abs=5e-7)
    assert psr(PAPER) == pytest.approx(0.999716, abs=5e-7)


def test_one_trial_needs_no_deflation() -> None:
    assert expected_maximum(0, 0.01) == expected_maximum(1, 0.01) == 0.0


def test_the_expected_maximum_is_near_that_of_random_trials() -> None:
    best = np.random.default_rng(7).normal(size=(4000, 50)).max(axis=1).mean()
    assert expected_maximum(50, 1.0) == pytest.approx(best, rel=0.03)


def test_moments_are_those_of_the_textbook() -> None:
    profit = np.random.default_rng(1).standard_t(5, size=400) / 100
    seen = moments(profit)
    assert seen is not None
    assert seen.sessions == 400
    assert seen.sharpe == pytest.approx(profit.mean() / profit.std(ddof=1))
    assert seen.skew == pytest.approx(scipy.stats.skew(profit))
    assert seen.kurtosis == pytest.approx(scipy.stats.kurtosis(profit, fisher=False))


@pytest.mark.parametrize("profit", [[], [0.1], [0.0, 0.0, 0.0], [0.1] * 50, [0.1, math.nan, 0.2]])
def test_without_variance_there_are_no_moments(profit: list[float]) -> None:
    assert moments(np.array(profit)) is None


def test_a_profit_without_spread_around_its_ratio_has_no_psr() -> None:
    assert psr(Moments(sharpe=1.0, sessions=100, skew=2.0, kurtosis=5.0)) is None


def cohort(profit: Floats, tickers: str = "A") -> Cohort:
    """Rows of these tickers, one letter each, over and over."""
    return Cohort(profit, [tickers[row % len(tickers)] for row in range(len(profit))])


def cap(*cohorts: Cohort) -> float:
    """What the cohorts let V be at most."""
    return trial_variance([-5.0, 5.0], cohorts)


def test_the_variance_of_trials_is_capped_by_that_of_trials_without_skill() -> None:
    profit = np.random.default_rng(3).normal(size=(30, 200))
    correlation = (np.corrcoef(profit).sum() - 30) / (30 * 29)
    assert_allclose(cap(cohort(profit)), (1 - correlation) / 199)
    small = [0.001, 0.002]
    assert_allclose(trial_variance(small, [cohort(profit)]), np.var(small, ddof=1))


def test_trials_that_are_all_alike_are_no_luck() -> None:
    profit = np.tile(np.random.default_rng(3).normal(size=100), (5, 1))
    assert cap(cohort(profit)) == pytest.approx(0.0, abs=1e-12)


def test_cohorts_of_a_ticker_count_by_their_pairs_and_trials_without_variance_do_not() -> None:
    random = np.random.default_rng(3)
    one, other = random.normal(size=(4, 50)), random.normal(size=(3, 80))
    alone = cap(cohort(one)), cap(cohort(other))
    assert_allclose(cap(cohort(one), cohort(other)), (6 * alone[0] + 3 * alone[1]) / 9)
    idle = np.vstack([one, np.zeros(50), np.full(50, 0.1)]).astype(np.float32)
    assert_allclose(cap(cohort(idle.astype(np.float64))), alone[0], rtol=1e-5)


def test_tickers_of_the_same_sessions_are_one_cohort_whatever_they_are_called() -> None:
    profit = np.random.default_rng(3).normal(size=(6, 100))
    assert cap(cohort(profit, "AB")) == cap(cohort(profit))


def test_tickers_of_different_sessions_count_as_uncorrelated() -> None:
    one, other = (np.tile(np.random.default_rng(seed).normal(size=50 * seed), (2, 1)) for seed in (1, 2))
    # Of the six pairs, two are of clones and the other four of different tickers.
    assert_allclose(cap(cohort(one, "A"), cohort(other, "B")), 4 / 6 * (1 / 49 + 1 / 99) / 2)
    assert cap(cohort(one, "A"), cohort(other, "A")) == pytest.approx(0.0, abs=1e-12)


def test_the_cap_is_what_trials_without_skill_show_on_average() -> None:
    random = np.random.default_rng(5)
    seen, capped = [], []
    for _ in range(300):
        alike = [0.8 * random.normal(size=200) + 0.6 * random.normal(size=(4, 200)) for _ in "AB"]
        alone = random.normal(size=(3, 100))
        ratios = [row.mean() / row.std(ddof=1) for rows in (*alike, alone) for row in rows]
        seen.append(np.var(ratios, ddof=1))
        capped.append(cap(Cohort(np.vstack(alike), [*"AAAABBBB"]), cohort(alone, "C")))
    assert np.mean(capped) == pytest.approx(np.mean(seen), rel=0.1)


def test_without_pairs_the_variance_is_what_is_seen() -> None:
    assert trial_variance([0.1], [cohort(np.ones((1, 5)))]) == 0.0
    assert_allclose(trial_variance([0.1, 0.3], [cohort(np.zeros((1, 5))), cohort(np.ones((2, 1)))]), 0.02)
