import math

import numpy as np
import pytest

from orchestrator.core.metrics import HIGHER_IS_BETTER, score
from orchestrator.core.profit import net_returns

POSITIONS = np.array([0, 1, 1, -1, 0, 0], dtype=np.int8)
RETURNS = np.array([0.05, 0.01, -0.02, -0.03, 0.04, 0.0])
SESSION = np.array([1, 1, 2, 2, 3, 4])


def test_metrics_of_a_hand_worked_example() -> None:
    net = net_returns(POSITIONS, RETURNS, 0.001)
    found = score(net, RETURNS, POSITIONS, SESSION, 252)
    by_session = np.array([0.009, -0.02 + 0.03 - 0.002, -0.001, 0.0])
    assert found["sharpe_ratio"] == pytest.approx(by_session.mean() / by_session.std(ddof=1) * math.sqrt(252))
    assert found["sortino_ratio"] == pytest.approx(by_session.mean() / (0.001 / 2) * math.sqrt(252))
    assert found["max_drawdown"] == pytest.approx(0.001)
    assert found["turnover"] == pytest.approx(4 / 4)
    assert found["hit_rate"] == pytest.approx(2 / 3)
    assert found["trades"] == 2
    assert found["exposure"] == pytest.approx(0.5)
    assert found["net_return"] == pytest.approx(0.016)
    assert found["break_even_bps"] == pytest.approx(10_000 * 0.02 / 4)
    assert found["psr"] is not None


def test_the_break_even_cost_leaves_nothing() -> None:
    bps = score(net_returns(POSITIONS, RETURNS, 0.0), RETURNS, POSITIONS, SESSION, 252)["break_even_bps"]
    assert bps is not None
    net = net_returns(POSITIONS, RETURNS, bps / 10_000)
    assert score(net, RETURNS, POSITIONS, SESSION, 252)["net_return"] == pytest.approx(0.0, abs=1e-15)


def test_a_position_never_taken_has_no_ratios() -> None:
    idle = np.zeros(6, dtype=np.int8)
    found = score(np.zeros(6), RETURNS, idle, SESSION, 252)
    undefined = {name for name, value in found.items() if value is None}
    assert undefined == {"sharpe_ratio", "sortino_ratio", "hit_rate", "psr", "break_even_bps"}
    assert found["trades"] == found["exposure"] == found["net_return"] == found["max_drawdown"] == 0.0


def test_no_bars_give_no_metrics_and_no_warning() -> None:
    nothing = np.array([])
    found = score(nothing, nothing, np.array([], dtype=np.int8), np.array([], dtype=np.int64), 252)
    assert {value for value in found.values() if value is not None} == {0.0}


def test_every_metric_that_can_be_optimised_is_computed() -> None:
    found = score(net_returns(POSITIONS, RETURNS, 0.0), RETURNS, POSITIONS, SESSION, 252)
    assert set(HIGHER_IS_BETTER) <= set(found)
