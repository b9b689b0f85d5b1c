"""What a profit series is worth, by us and by skfolio."""

import math

import numpy as np
import pytest
from skfolio import measures
from skfolio.portfolio import BasePortfolio

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import expected_maximum, moments, psr
from orchestrator.core.metrics import Metrics, score

YEAR = 252.0


def profits(seed: int, sessions: int = 400) -> Floats:
    """Daily profit with fat tails, a drift and flat days."""
    random = np.random.default_rng(seed)
    moved: Floats = random.standard_t(4, sessions) / 100 + random.normal(0, 0.002)
    return np.where(random.random(sessions) < 0.2, 0.0, moved)


def ours(profit: Floats) -> Metrics:
    """The metrics of a position that is held throughout, one bar a session, without costs."""
    return score(profit, profit, np.ones(len(profit), dtype=np.int8), np.arange(len(profit)), YEAR)


@pytest.mark.parametrize("seed", range(20))
def test_sharpe_sortino_and_drawdown(seed: int) -> None:
    profit = profits(seed)
    theirs = BasePortfolio(profit, np.arange(len(profit)), annualization_factor=YEAR, min_acceptable_return=0.0)
    found = ours(profit)
    assert found["sharpe_ratio"] == pytest.approx(theirs.annualized_sharpe_ratio, rel=1e-9)
    # Sortino and van der Meer average the squared losses over all sessions; skfolio over one less.
    biased = math.sqrt(len(profit) / (len(profit) - 1))
    assert found["sortino_ratio"] == pytest.approx(theirs.annualized_sortino_ratio * biased, rel=1e-9)
    assert found["max_drawdown"] == pytest.approx(theirs.max_drawdown, rel=1e-9)
    assert found["net_return"] == pytest.approx(measures.get_cumulative_returns(profit)[-1], rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("benchmark", [0.0, 0.03, -0.1])
def test_probabilistic_sharpe_ratio(seed: int, benchmark: float) -> None:
    profit = profits(seed)
    observed = moments(profit)
    assert observed is not None
    assert observed.skew == pytest.approx(measures.skew(profit), rel=1e-9)
    assert observed.kurtosis == pytest.approx(measures.kurtosis(profit), rel=1e-9)
    expected = measures.probabilistic_sharpe_ratio(profit, benchmark_sharpe_ratio=benchmark)
    assert psr(observed, benchmark) == pytest.approx(expected, rel=1e-9)
    if not benchmark:
        assert ours(profit)["psr"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("trials", [1, 2, 10, 100, 100_000])
def test_expected_maximum_sharpe_ratio(trials: int) -> None:
    expected = measures.expected_max_sharpe_ratio(trials, 0.03)
    assert expected_maximum(trials, 0.03**2) == pytest.approx(expected, rel=1e-9)
    if trials == 100:
        assert expected == pytest.approx(0.075918, abs=5e-7)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("trials", [1, 2, 50])
def test_deflated_sharpe_ratio(seed: int, trials: int) -> None:
    profit = profits(seed)
    sharpes = np.random.default_rng(seed).normal(0, 0.02, trials)
    observed = moments(profit)
    assert observed is not None
    variance = float(np.var(sharpes, ddof=1)) if trials > 1 else 0.0
    expected = measures.deflated_sharpe_ratio(profit, sharpes)
    assert psr(observed, expected_maximum(trials, variance)) == pytest.approx(expected, rel=1e-9)
