import numpy as np
from numpy.testing import assert_allclose

from orchestrator.core.profit import active_part, aligned, by_session, changes, combined, net_returns

POSITIONS = np.array([0, 1, 1, -1, 0], dtype=np.int8)
RETURNS = np.array([0.05, 0.01, -0.02, 0.03, 0.04])


def test_each_unit_traded_costs() -> None:
    assert changes(POSITIONS).tolist() == [0, 1, 0, 2, 1]
    assert changes(POSITIONS, initial=-1).tolist() == [1, 1, 0, 2, 1]
    assert_allclose(net_returns(POSITIONS, RETURNS, 0.001), [0.0, 0.009, -0.02, -0.032, -0.001])


def test_an_unknown_return_stays_unknown() -> None:
    net = net_returns(POSITIONS, np.array([np.nan, 0.0, 0.0, 0.0, 0.0]), 0.0)
    assert np.isnan(net).tolist() == [True, False, False, False, False]


def test_merely_being_long_has_no_active_part() -> None:
    long = np.ones(5, dtype=np.int8)
    assert_allclose(active_part(net_returns(long, RETURNS, 0.0), long, RETURNS), np.zeros(5), atol=1e-15)


def test_profit_is_summed_by_session() -> None:
    sessions, profit = by_session(np.array([1.0, 2.0, 4.0, 8.0]), np.array([7, 7, 9, 8]))
    assert sessions.tolist() == [7, 8, 9]
    assert profit.tolist() == [3.0, 8.0, 4.0]


def test_a_combination_divides_the_stake_equally() -> None:
    first = (np.array([1, 2]), np.array([0.2, 0.4]))
    second = (np.array([2, 3]), np.array([0.2, -0.2]))
    assert aligned([first, second])[1].tolist() == [[0.2, 0.4, 0.0], [0.0, 0.2, -0.2]]
    sessions, profit = combined([first, second])
    assert sessions.tolist() == [1, 2, 3]
    assert_allclose(profit, [0.1, 0.3, -0.1])
