from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.splits import Fold
from orchestrator.features.blocks import Changed, Stream, Work
from orchestrator.search.streamed import Kept, Streamed, emptied, entries, mapped
from orchestrator.search.streamed_walk import StreamedWalk
from tests.property.search.test_streamed import Over, market

ROWS = np.arange(10)


def test_a_row_enters_with_the_first_training_set_that_has_it() -> None:
    target = np.zeros(10)
    target[1] = np.nan
    folds = (Fold(ROWS[:3], ROWS[4:6]), Fold(np.array([0, 1, 2, 4]), ROWS[6:8]))
    assert entries(folds, target).tolist() == [0, 3, 0, 2, 1, 2, 2, 2, 2, 2]


def test_training_sets_that_do_not_expand_are_refused() -> None:
    with pytest.raises(ValueError, match="fold 1"):
        entries((Fold(ROWS[:3], ROWS[4:6]), Fold(ROWS[1:4], ROWS[6:8])), np.zeros(10))


def test_kept_predictions_are_an_array_to_whoever_wants_one_until_they_are_forgotten(tmp_path: Path) -> None:
    one, other = tmp_path / "0", tmp_path / "1"
    np.array([1.5, np.nan], dtype=np.float32).tofile(one)
    np.array([2.5], dtype=np.float32).tofile(other)
    kept = Kept((one,), 2) + Kept((other,), 1)
    np.testing.assert_array_equal(np.asarray(kept), [1.5, np.nan, 2.5])
    assert np.asarray(kept).dtype == np.float64
    assert np.asarray(kept, np.float32).dtype == np.float32
    assert len(kept) == 3
    for _ in range(2):
        kept.forget()
    assert list(tmp_path.iterdir()) == []


def test_mapped_values_are_those_that_came_first(tmp_path: Path) -> None:
    for last in (2.5, 3.5):
        found = mapped(tmp_path / "a.npy", np.array([1.5, last], dtype=np.float32))
    np.testing.assert_array_equal(found, [1.5, 2.5])
    assert found.dtype == np.float64


def test_an_emptied_folder_is_gone_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    (folder / "left").touch()
    for _ in range(2):
        with emptied(folder):
            assert list(folder.iterdir()) == []
            (folder / "left").touch()
        assert not folder.exists()


class Gone(Streamed):
    """Its files have been emptied."""

    def read(self, work: Work, wanted: range, *, rows: int, cpus: float) -> Iterator[dict[str, NDArray[Any]]]:
        return iter(())


def test_rows_that_are_gone_end_the_trial(tmp_path: Path) -> None:
    data = market(100, 1, 1, 50)
    folds = (Fold(ROWS, np.arange(50, 70)), Fold(np.arange(60), np.arange(70, 100)))
    gone = Gone(Stream((), data.feature_names), entries(folds, data.target), tmp_path)
    with pytest.raises(Changed, match="0 of 99 rows"):
        StreamedWalk(ElasticNetTrainer(), Over(data, folds, gone)).forward([{"alpha": 0.1, "l1_ratio": 0.5}])


def test_test_spans_follow_one_another(tmp_path: Path) -> None:
    data = market(100, 1, 1, 50)
    folds = (Fold(ROWS, np.arange(50, 70)), Fold(np.arange(60), np.arange(71, 100)))
    gone = Gone(Stream((), ()), entries(folds, data.target), tmp_path)
    with pytest.raises(ValueError, match="follow one another"):
        StreamedWalk(ElasticNetTrainer(), Over(data, folds, gone))
