from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import Refused
from orchestrator.core.splits import Fold, purged_walk_forward


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], int, tuple[Fold, ...]]:
    """Label ends of any reach (as at the close of a session), an embargo, and the folds that they give."""
    reaches = draw(st.lists(st.integers(0, 30), min_size=2, max_size=120))
    label_end = [row + reach for row, reach in enumerate(reaches)]
    embargo = draw(st.integers(0, 20))
    folds, initial = draw(st.integers(1, 8)), draw(st.floats(0.01, 0.99))
    try:
        found = purged_walk_forward(np.array(label_end), folds=folds, initial=initial, embargo=embargo)
    except Refused:
        found = ()
    return label_end, embargo, found


@given(splits())
def test_no_training_label_meets_a_test_span_or_its_embargo(case: tuple[list[int], int, tuple[Fold, ...]]) -> None:
    label_end, embargo, folds = case
    for fold in folds:
        forbidden = range(int(fold.test[0]) - embargo, int(fold.test[-1]) + 1)
        for row in fold.train.tolist():
            assert not set(range(row, label_end[row] + 1)) & set(forbidden)


@given(splits())
def test_the_tests_are_consecutive_reach_the_end_and_follow_their_training(
    case: tuple[list[int], int, tuple[Fold, ...]],
) -> None:
    label_end, _, folds = case
    if folds:
        tested = np.concatenate([fold.test for fold in folds]).tolist()
        assert tested == list(range(tested[0], len(label_end)))
        lengths = [len(fold.test) for fold in folds]
        assert max(lengths) - min(lengths) <= 1
    for earlier, later in pairwise(folds):
        assert set(earlier.train.tolist()) <= set(later.train.tolist())


@given(splits())
def test_every_row_that_may_train_does(case: tuple[list[int], int, tuple[Fold, ...]]) -> None:
    label_end, embargo, folds = case
    for fold in folds:
        start = int(fold.test[0]) - embargo
        assert fold.train.tolist() == [row for row in range(int(fold.test[0])) if label_end[row] < start]
