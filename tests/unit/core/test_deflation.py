import math

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from orchestrator.core.deflation import Moments, deflated_sharpe, expected_maximum, moments, psr, trial_variance

PAPER = Moments(sharpe=0.1, sessions=1260, skew=-0.5, kurtosis=5.0)


def test_golden_figures() -> None:
    assert expected_maximum(100, 0.0009) == pytest.approx(0.075918, abs=5e-7)
    assert deflated_sharpe(PAPER, 100, 0.0009) == pytest.approx(0.796716, abs=5e-7)
    assert psr(PAPER) == pytest.approx(0.999716, abs=5e-7)


def test_one_trial_needs_no_deflation() -> None:
    assert expected_maximum(0, 0.01) == expected_maximum(1, 0.01) == 0.0
    assert deflated_sharpe(PAPER, 1, 0.01) == psr(PAPER)


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


def test_the_variance_of_trials_is_capped_by_that_of_trials_without_skill() -> None:
    profit = np.random.default_rng(3).normal(size=(30, 200))
    correlation = (np.corrcoef(profit).sum() - 30) / (30 * 29)
    cap = (1 - correlation) / 199
    assert_allclose(trial_variance([-5.0, 5.0], [profit]), cap)
    small = [0.001, 0.002]
    assert_allclose(trial_variance(small, [profit]), np.var(small, ddof=1))


def test_trials_that_are_all_alike_are_no_luck() -> None:
    profit = np.tile(np.random.default_rng(3).normal(size=100), (5, 1))
    assert trial_variance([0.1, 0.3], [profit]) == pytest.approx(0.0, abs=1e-12)


def test_spans_count_by_their_pairs_and_trials_without_variance_do_not() -> None:
    random = np.random.default_rng(3)
    one, other = random.normal(size=(4, 50)), random.normal(size=(3, 80))
    alone = trial_variance([-5.0, 5.0], [one]), trial_variance([-5.0, 5.0], [other])
    assert_allclose(trial_variance([-5.0, 5.0], [one, other]), (6 * alone[0] + 3 * alone[1]) / 9)
    idle = np.vstack([one, np.zeros(50), np.full(50, 0.1)]).astype(np.float32)
    assert_allclose(trial_variance([-5.0, 5.0], [idle.astype(np.float64)]), alone[0], rtol=1e-5)


def test_without_pairs_the_variance_is_what_is_seen() -> None:
    assert trial_variance([0.1], [np.ones((1, 5))]) == 0.0
    assert_allclose(trial_variance([0.1, 0.3], [np.zeros((1, 5))]), 0.02)
