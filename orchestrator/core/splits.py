"""Walk-forward splits: train on the past, test on what follows, with no label of the one reaching into the other."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orchestrator.core.arrays import Integers
from orchestrator.core.errors import Refused
from schemas.base import Reason

FOLDS = 6
INITIAL = 0.4


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to train on and rows to predict, each ascending; every test row comes after every training row."""

    train: Integers
    test: Integers


@dataclass(frozen=True)
class FoldPlan:
    """How rows are split: see `purged_walk_forward`."""

    folds: int = FOLDS
    initial: float = INITIAL
    embargo: int = 0

    def split(self, label_end: Integers) -> tuple[Fold, ...]:
        """The folds of rows with these label ends."""
        return purged_walk_forward(label_end, folds=self.folds, initial=self.initial, embargo=self.embargo)


def purged_walk_forward(
    label_end: Integers, *, folds: int = FOLDS, initial: float = INITIAL, embargo: int = 0
) -> tuple[Fold, ...]:
    """Expanding training sets, each followed by a test span; the spans cover every row after the first `initial` share.

    A row trains only if its label ends before the test span, and before the `embargo` bars that precede it: bars near
    the span whose returns are correlated with it (purging and embargo: Lopez de Prado, 2018, chapter 7).

    Args:
        label_end: (n,) the last bar that each row's label touches, n or more where the label is unknown.
        folds: number of test spans, of lengths that differ by one at most.
        initial: share of the rows before the first test span, in (0, 1).
        embargo: bars before each test span that no training label may touch.

    Raises:
        ValueError: a parameter is out of its range.
        Refused: a fold would have nothing to train on or to test (`too_few_bars`).
    """
    if folds < 1 or not 0 < initial < 1 or embargo < 0:
        raise ValueError(f"folds={folds} must be at least 1, initial={initial} in (0, 1), embargo={embargo} at least 0")
    count = len(label_end)
    bounds = np.linspace(round(initial * count), count, folds + 1).round().astype(np.int64)
    rows = np.arange(count, dtype=np.int64)
    split = tuple(
        Fold(train=rows[:start][label_end[:start] < start - embargo], test=rows[start:stop])
        for start, stop in pairwise(bounds.tolist())
    )
    empty = [number for number, fold in enumerate(split) if not len(fold.train) or not len(fold.test)]
    if empty:
        message = f"{count} bars are too few for {folds} folds after the first {initial:.0%}; give more bars"
        raise Refused((Reason(code="too_few_bars", where=f"fold {empty[0]}", message=message),))
    return split
