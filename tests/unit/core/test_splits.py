import numpy as np
import pytest

from orchestrator.core.errors import Refused
from orchestrator.core.splits import FoldPlan, purged_walk_forward


def test_training_expands_and_stops_where_its_labels_would_reach_the_test() -> None:
    first, second = purged_walk_forward(np.arange(10) + 2, folds=2, initial=0.4)
    assert (first.train.tolist(), first.test.tolist()) == ([0, 1], [4, 5, 6])
    assert (second.train.tolist(), second.test.tolist()) == ([0, 1, 2, 3, 4], [7, 8, 9])


def test_the_embargo_keeps_labels_off_the_bars_before_the_test() -> None:
    (fold,) = purged_walk_forward(np.arange(10) + 1, folds=1, initial=0.5, embargo=2)
    assert fold.train.tolist() == [0, 1]


def test_rows_of_unknown_label_never_train() -> None:
    label_end = np.arange(10) + 1
    label_end[1] = 10
    (fold,) = purged_walk_forward(label_end, folds=1, initial=0.5)
    assert fold.train.tolist() == [0, 2, 3]


def test_a_plan_splits_as_the_function_does() -> None:
    label_end = np.arange(50) + 1
    planned, direct = FoldPlan().split(label_end), purged_walk_forward(label_end)
    assert [fold.test.tolist() for fold in planned] == [fold.test.tolist() for fold in direct]
    assert len(planned) == 6
    assert planned[0].test[0] == 20


def test_too_few_bars_are_refused() -> None:
    with pytest.raises(Refused, match="too_few_bars"):
        purged_walk_forward(np.arange(5) + 1)
    with pytest.raises(Refused, match="too_few_bars"):
        purged_walk_forward(np.full(100, 100))


def test_parameters_out_of_range_are_an_error() -> None:
    for wrong in ({"folds": 0}, {"initial": 0.0}, {"initial": 1.0}, {"embargo": -1}):
        with pytest.raises(ValueError, match="folds="):
            purged_walk_forward(np.arange(100), **wrong)
