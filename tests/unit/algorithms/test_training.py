from threading import Barrier, get_ident

import numpy as np
import pytest

from orchestrator.algorithms.base import CannotTrain
from orchestrator.algorithms.training import side_by_side, usable
from orchestrator.core.arrays import Floats


def rows() -> tuple[Floats, Floats]:
    return np.arange(12.0).reshape(4, 3), np.arange(4.0)


def test_rows_that_are_all_finite_are_not_copied() -> None:
    features, target = rows()
    found, outcome = usable(features, target)
    assert np.shares_memory(found, features)
    assert outcome is target


def test_what_single_precision_cannot_hold_is_not_finite() -> None:
    features, target = rows()
    features[1, 1] = 1e39
    found, outcome = usable(features, target, np.float32)
    assert found.dtype == np.float32
    assert outcome.tolist() == [0.0, 2.0, 3.0]
    assert len(usable(features, target)[0]) == 4


def test_one_finite_row_is_too_few() -> None:
    features, target = rows()
    target[1:] = np.nan
    with pytest.raises(CannotTrain) as refusal:
        usable(features, target)
    assert [reason.code for reason in refusal.value.reasons] == ["too_few_rows"]
    assert refusal.value.reasons[0].message == "4 training rows hold 1 that are finite; 2 are the least."


def test_as_many_are_under_way_as_there_are_threads() -> None:
    together = Barrier(3, timeout=10)

    def work(number: int, share: int) -> tuple[int, int, int]:
        together.wait()
        return number, share, get_ident()

    found = side_by_side(work, 3, threads=3)
    assert [(number, share) for number, share, _ in found] == [(0, 1), (1, 1), (2, 1)]
    assert len({thread for _, _, thread in found}) == 3


@pytest.mark.parametrize(("count", "threads", "share"), [(1, 4, 4), (2, 4, 2), (3, 4, 1), (8, 4, 1), (2, 1, 1)])
def test_threads_are_shared_out(count: int, threads: int, share: int) -> None:
    assert side_by_side(lambda number, own: (number, own), count, threads) == [
        (number, share) for number in range(count)
    ]


def test_without_work_nothing_is_done() -> None:
    assert side_by_side(lambda number, share: number, 0, 4) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_what_goes_wrong_in_a_thread_goes_wrong_here(threads: int) -> None:
    def work(number: int, share: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        side_by_side(work, 2, threads)
