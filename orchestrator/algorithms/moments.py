"""Means and co-moments of rows: all that least squares needs to know of them, and small enough to add up anywhere."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from orchestrator.core.arrays import Floats

BLOCK = 4096
"""Rows that are centred at once, so that they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of rows with c columns. Those of two sets of rows add up to those of both."""

    count: int
    mean: Floats
    """(c,)"""
    comoment: Floats
    """(c, c): sums of products of deviations from the means."""
    low: Floats
    """(c,): the least value."""
    high: Floats
    """(c,): the largest value."""

    @classmethod
    def of(cls, *columns: Floats) -> Self:
        """Of the rows of these arrays side by side; (n, .) each or (n,), finite, of one length above 0.

        Block after block, so that no second copy of the rows is held.
        """
        blocks = (
            np.column_stack([column[begin : begin + BLOCK] for column in columns])
            for begin in range(0, len(columns[0]), BLOCK)
        )
        total = cls._of_block(next(blocks))
        for block in blocks:
            total += cls._of_block(block)
        return total

    @classmethod
    def _of_block(cls, rows: Floats) -> Self:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = rows.mean(axis=0)
            deviation = rows - mean
            return cls(len(rows), mean, deviation.T @ deviation, rows.min(axis=0), rows.max(axis=0))

    def __add__(self, other: Self) -> Self:
        """Of both sets of rows (Chan, Golub and LeVeque, 1983: no cancellation, however far the means are from 0)."""
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            apart = other.mean - self.mean
            return type(self)(
                count,
                self.mean + apart * (other.count / count),
                self.comoment + other.comoment + np.outer(apart, apart) * (self.count * other.count / count),
                np.minimum(self.low, other.low),
                np.maximum(self.high, other.high),
            )

    def standardised(self) -> tuple[Floats, Floats]:
        """(c,) standard deviations and (c, c) correlations.

        A column without variance has a deviation of 1, and correlations of 0: one that is constant up to rounding has a
        variance of rounding errors, and nothing to say.
        """
        deviation = np.sqrt(np.diagonal(self.comoment) / self.count)
        varies = (self.low < self.high) & (deviation > 0.0)
        deviation = np.where(varies, deviation, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            correlation = self.comoment / self.count / deviation / deviation[:, None]
        return deviation, np.where(varies & varies[:, None], correlation, 0.0)
