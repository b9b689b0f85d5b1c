from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.algorithms.base import Streaming, registered, trainer
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.splits import Fold
from orchestrator.features.source import Extent
from orchestrator.features.streaming import Stream, Work
from orchestrator.search.streamed import Changed, Kept, LargerThanMemory, Streamed, StreamedWalk, entries, is_streamed
from tests.property.search.test_streamed import Over, market

GIB = 2**30
LARGE = {"AAA/1m": Extent(rows=100_000_000, columns=20), "BBB/1m": Extent(rows=1_000_000, columns=20)}
ROWS = np.arange(10)


def test_what_fits_is_not_streamed_whatever_the_family() -> None:
    assert not is_streamed(trainer("random_forest_regressor"), LARGE, memory=1000 * GIB)
    assert not is_streamed(trainer("elasticnet"), LARGE, memory=GIB, stream_above=100 * GIB)


def test_what_does_not_fit_is_streamed_by_a_family_that_can() -> None:
    assert is_streamed(trainer("elasticnet"), LARGE, memory=16 * GIB)
    assert is_streamed(trainer("elasticnet"), LARGE, memory=1000 * GIB, stream_above=GIB)
    assert [name for name, family in registered().items() if isinstance(family, Streaming)] == ["elasticnet"]


def test_a_family_that_cannot_stream_is_refused_with_what_is_needed_and_there() -> None:
    with pytest.raises(LargerThanMemory) as refused:
        is_streamed(trainer("xgboost_regressor"), LARGE, memory=16 * GIB)
    first, second = refused.value.reasons
    assert (first.code, first.where, second.where) == ("larger_than_memory", "AAA/1m", "BBB/1m")
    assert first.message == (
        "100,000,000 rows x 20 columns: 15.6 GiB. All rows together need 15.8 GiB of memory; 16.0 GiB are there, of "
        "which they may take 4.0 GiB, and xgboost_regressor cannot stream them. Choose a family that can (elasticnet), "
        "a shorter span (data_start, data_end), fewer features, or a machine with more memory."
    )


def test_a_row_enters_with_the_first_training_set_that_has_it() -> None:
    target = np.zeros(10)
    target[1] = np.nan
    folds = (Fold(ROWS[:3], ROWS[4:6]), Fold(np.array([0, 1, 2, 4]), ROWS[6:8]))
    assert entries(folds, target).tolist() == [0, 3, 0, 2, 1, 2, 2, 2, 2, 2]


def test_training_sets_that_do_not_expand_are_refused() -> None:
    with pytest.raises(ValueError, match="fold 1"):
        entries((Fold(ROWS[:3], ROWS[4:6]), Fold(ROWS[1:4], ROWS[6:8])), np.zeros(10))


def test_kept_predictions_are_an_array_to_whoever_wants_one(tmp_path: Path) -> None:
    np.array([1.5, np.nan], dtype=np.float32).tofile(tmp_path / "0")
    kept = Kept(tmp_path / "0", 2)
    np.testing.assert_array_equal(np.concatenate([kept, kept]), [1.5, np.nan, 1.5, np.nan])
    assert np.asarray(kept).dtype == np.float64
    assert np.asarray(kept, np.float32).dtype == np.float32
    assert len(kept) == 2


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
