"""Where labels all reach equally far, our folds are those of skfolio's purged walk-forward."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from skfolio.model_selection import WalkForward

from orchestrator.core.splits import purged_walk_forward


@given(st.integers(1, 8), st.integers(1, 30), st.integers(25, 200), st.integers(0, 12), st.integers(0, 12))
def test_purged_walk_forward(folds: int, test: int, start: int, reach: int, embargo: int) -> None:
    count = start + folds * test
    ours = purged_walk_forward(np.arange(count) + reach, folds=folds, initial=start / count, embargo=embargo)
    # A label that reaches k bars ahead must end before the gap: k + 1 bars lie between its own and the test.
    purged = reach + embargo
    theirs = WalkForward(test_size=test, train_size=start - purged, purged_size=purged, expand_train=True)
    expected = list(theirs.split(np.zeros((count, 1))))
    assert len(ours) == len(expected) == folds
    for fold, (train, tested) in zip(ours, expected, strict=True):
        assert fold.train.tolist() == train.tolist()
        assert fold.test.tolist() == tested.tolist()
