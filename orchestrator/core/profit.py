"""Profit and loss of positions, as a share of a fixed stake: nothing is compounded."""

from collections.abc import Sequence

import numpy as np

from orchestrator.core.arrays import Floats, Integers, Positions


def changes(positions: Positions, initial: int = 0) -> Floats:
    """Units of position traded at each bar, (n,): the size of each change, the first one from `initial`."""
    return np.abs(np.diff(positions.astype(np.float64), prepend=float(initial)))


def net_returns(positions: Positions, bar_return: Floats, cost: float, *, initial: int = 0) -> Floats:
    """Each bar's return after costs, (n,): position times `bar_return`, less `cost` for each unit traded.

    `cost` is half the spread, fee and slippage as a fraction. NaN where `bar_return` is NaN, whatever the position.
    """
    return positions * bar_return - cost * changes(positions, initial)


def active_part(net: Floats, positions: Positions, bar_return: Floats) -> Floats:
    """What is left of net returns (n,) beyond merely holding the mean position."""
    return net - float(np.mean(positions, dtype=np.float64)) * bar_return


def by_session(values: Floats, session: Integers) -> tuple[Integers, Floats]:
    """Sums by session: the sessions' numbers, ascending, and the sum of each."""
    numbers, place = np.unique(session, return_inverse=True)
    sums = np.zeros(len(numbers))
    np.add.at(sums, place, values)
    return numbers, sums


def combined(parts: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats]:
    """An equally divided stake: the mean profit over parts by session, a part without the session being flat in it.

    Each part is the sessions' numbers and their profits, as `by_session` gives them; so is the answer.
    """
    sessions = np.concatenate([numbers for numbers, _ in parts])
    profits = np.concatenate([profit for _, profit in parts])
    numbers, total = by_session(profits, sessions)
    return numbers, total / len(parts)
