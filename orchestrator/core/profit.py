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
    begins = np.flatnonzero(np.diff(session, prepend=session[:1] - 1))
    numbers, place = np.unique(session[begins], return_inverse=True)
    counts = np.diff(begins, append=len(session))
    sums = np.bincount(np.repeat(place, counts), weights=values, minlength=len(numbers))
    return numbers, np.asarray(sums, dtype=np.float64)


def aligned(parts: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats]:
    """The sessions of all parts, ascending, and their profits beside each other, (n_parts, n_sessions).

    Each part is its sessions' numbers and their profits, as `by_session` gives them; it is flat in sessions that it
    lacks.
    """
    numbers = np.unique(np.concatenate([own for own, _ in parts]))
    profits = np.zeros((len(parts), len(numbers)))
    for row, (own, profit) in zip(profits, parts, strict=True):
        row[np.searchsorted(numbers, own)] = profit
    return numbers, profits


def combined(parts: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats]:
    """An equally divided stake: the mean profit over parts by session; parts and answer are as in `aligned`."""
    numbers, profits = aligned(parts)
    return numbers, profits.mean(axis=0)
