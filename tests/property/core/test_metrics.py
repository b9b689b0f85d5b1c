from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.core.metrics import score
from orchestrator.core.profit import active_part, aligned, by_session, combined, net_returns

returns = st.lists(st.integers(-500, 500).map(lambda value: value / 10_000), min_size=1, max_size=60).map(np.array)


def walk(bar_return: Floats, seed: int, cost: float) -> dict[str, float | None]:
    random = np.random.default_rng(seed)
    held = random.integers(-1, 2, len(bar_return)).astype(np.int8)
    session = np.sort(random.integers(0, 10, len(bar_return)))
    return score(net_returns(held, bar_return, cost), bar_return, held, session, 252)


def assert_scaled(one: float | None, other: float | None, scale: float) -> None:
    assert (one is None) == (other is None)
    if one is not None:
        assert other == pytest.approx(one * scale, rel=1e-6, abs=1e-9)


@given(returns, st.integers(0, 1000), st.floats(0, 0.01), st.floats(0.01, 100))
def test_ratios_do_not_depend_on_the_size_of_the_stake(
    bar_return: Floats, seed: int, cost: float, scale: float
) -> None:
    one, other = walk(bar_return, seed, cost), walk(bar_return * scale, seed, cost * scale)
    for name in ("sharpe_ratio", "sortino_ratio", "hit_rate", "psr", "turnover", "exposure", "trades"):
        assert_scaled(one[name], other[name], 1.0)
    for name in ("net_return", "max_drawdown", "break_even_bps"):
        assert_scaled(one[name], other[name], scale)


@given(returns, st.integers(0, 1000), st.floats(0, 0.01))
def test_metrics_are_in_their_ranges_and_never_infinite(bar_return: Floats, seed: int, cost: float) -> None:
    found = walk(bar_return, seed, cost)
    assert all(value is None or np.isfinite(value) for value in found.values())
    for name in ("hit_rate", "exposure", "psr"):
        value = found[name]
        assert value is None or 0 <= value <= 1
    assert found["max_drawdown"] is not None
    assert found["max_drawdown"] >= max(0.0, -(found["net_return"] or 0.0) - 1e-12)


@given(returns, st.integers(0, 1000), st.floats(0, 0.01))
def test_costs_never_help(bar_return: Floats, seed: int, cost: float) -> None:
    free, charged = walk(bar_return, seed, 0.0)["net_return"], walk(bar_return, seed, cost)["net_return"]
    assert free is not None
    assert charged is not None
    assert charged <= free + 1e-12


@given(returns, st.integers(0, 1000), st.floats(0, 0.01), st.integers(1, 40))
def test_flat_sessions_dilute_the_mean_and_change_nothing_that_was_earned(
    bar_return: Floats, seed: int, cost: float, flat: int
) -> None:
    random = np.random.default_rng(seed)
    # Flat at the end already, so that what is added trades nothing.
    held = np.append(random.integers(-1, 2, len(bar_return)), 0).astype(np.int8)
    moves = np.append(bar_return, 0.0)
    session = np.sort(random.integers(0, 10, len(moves)))
    before = score(net_returns(held, moves, cost), moves, held, session, 252)
    idle = np.zeros(flat)
    held, moves = np.append(held, idle).astype(np.int8), np.append(moves, idle)
    session = np.append(session, 100 + np.arange(flat))
    after = score(net_returns(held, moves, cost), moves, held, session, 252)
    for name in ("net_return", "max_drawdown", "trades", "hit_rate", "break_even_bps"):
        assert_scaled(before[name], after[name], 1.0)
    bars, sessions = len(bar_return) + 1, len(np.unique(session)) - flat
    assert_scaled(before["turnover"], after["turnover"], sessions / (sessions + flat))
    assert_scaled(before["exposure"], after["exposure"], bars / (bars + flat))
    # The mean falls as the sessions grow, the root mean square of losses as their square root.
    assert_scaled(before["sortino_ratio"], after["sortino_ratio"], np.sqrt(sessions / (sessions + flat)))
    if before["sharpe_ratio"] is not None and abs(before["net_return"] or 0.0) > 1e-9:
        assert after["sharpe_ratio"] is not None
        assert after["sharpe_ratio"] * before["sharpe_ratio"] > 0


@given(returns, st.integers(0, 1000), st.floats(0, 0.01))
def test_going_the_other_way_earns_the_opposite_before_costs(bar_return: Floats, seed: int, cost: float) -> None:
    one, other = walk(bar_return, seed, 0.0), walk(-bar_return, seed, 0.0)
    for name in ("sharpe_ratio", "net_return", "break_even_bps"):
        assert_scaled(one[name], other[name], -1.0)
    for name in ("turnover", "exposure", "trades"):
        assert_scaled(one[name], other[name], 1.0)
    if one["psr"] is not None:
        assert other["psr"] == pytest.approx(1 - one["psr"], abs=1e-6)


parts = st.lists(
    st.lists(st.tuples(st.integers(0, 8), st.integers(-9, 9)), min_size=1, max_size=10), min_size=1, max_size=5
)


@given(parts, st.randoms(use_true_random=False))
def test_the_order_of_tickers_does_not_count(entries: list[list[tuple[int, int]]], random: Random) -> None:
    tickers = [by_session(np.array([float(v) for _, v in each]), np.array([s for s, _ in each])) for each in entries]
    sessions, beside = aligned(tickers)
    assert beside.sum() == sum(profit.sum() for _, profit in tickers)
    whole = combined(tickers)
    order = random.sample(range(len(tickers)), len(tickers))
    shuffled = [tickers[place] for place in order]
    assert aligned(shuffled)[1].tolist() == beside[order].tolist()
    assert combined(shuffled)[0].tolist() == whole[0].tolist() == sessions.tolist()
    assert combined(shuffled)[1] == pytest.approx(whole[1])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), min_size=1, max_size=30))
def test_profit_by_session_adds_up_and_is_order_free(entries: list[tuple[int, int]]) -> None:
    session, values = np.array([one for one, _ in entries]), np.array([float(value) for _, value in entries])
    numbers, sums = by_session(values, session)
    assert sums.sum() == values.sum()
    shuffled = np.random.default_rng(len(entries)).permutation(len(entries))
    again = by_session(values[shuffled], session[shuffled])
    assert (again[0].tolist(), again[1].tolist()) == (numbers.tolist(), sums.tolist())
    alike = combined([(numbers, sums), (numbers, sums)])
    assert alike[1].tolist() == sums.tolist()


@given(returns, st.sampled_from([-1, 0, 1]))
def test_a_position_that_never_changes_has_no_active_part(bar_return: Floats, held: int) -> None:
    constant = np.full(len(bar_return), held, dtype=np.int8)
    assert not active_part(net_returns(constant, bar_return, 0.0), constant, bar_return).any()
