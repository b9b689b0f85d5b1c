from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from orchestrator.algorithms.base import Streaming, registered, trainer
from orchestrator.core.errors import Refused
from orchestrator.features.database import DuckDBFeatures
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import Extent, FeatureSource
from orchestrator.search.reading import LargerThanMemory, is_streamed, load, read
from tests.unit.search.studies import NAMES, ROWS, TRAINER, search_request, write_market

GIB = 2**30
LARGE = {"AAA/1m": Extent(rows=100_000_000, columns=20), "BBB/1m": Extent(rows=1_000_000, columns=20)}


def test_what_fits_is_not_streamed_whatever_the_family() -> None:
    assert not is_streamed(trainer("random_forest_regressor"), LARGE, memory=1000 * GIB)
    assert not is_streamed(trainer("elasticnet"), LARGE, memory=GIB, stream_above=100 * GIB)


def test_what_does_not_fit_is_streamed_by_a_family_that_can() -> None:
    assert is_streamed(trainer("elasticnet"), LARGE, memory=32 * GIB)
    assert is_streamed(trainer("elasticnet"), LARGE, memory=1000 * GIB, stream_above=GIB)
    assert [name for name, family in registered().items() if isinstance(family, Streaming)] == ["elasticnet"]


def test_a_family_that_cannot_stream_is_refused_with_what_is_needed_and_there() -> None:
    with pytest.raises(LargerThanMemory) as refused:
        is_streamed(trainer("xgboost_regressor"), LARGE, memory=16 * GIB)
    first, second = refused.value.reasons
    assert (first.code, first.where, second.where) == ("larger_than_memory", "AAA/1m", "BBB/1m")
    assert first.message == (
        "100,000,000 rows x 20 columns: 15.6 GiB. All rows together need 15.8 GiB of memory; 16.0 GiB are there, of "
        "which they may take 4.0 GiB (STREAM_ABOVE_MB), and xgboost_regressor cannot stream them. Choose a family that "
        "can (elasticnet), a shorter span (data_start, data_end), fewer features, or a machine with more memory."
    )


def test_more_rows_than_even_a_stream_can_have_are_refused() -> None:
    with pytest.raises(LargerThanMemory, match=r"streamed they still need 24\.1 GiB\. Choose a shorter span"):
        is_streamed(trainer("elasticnet"), LARGE, memory=24 * GIB)


def database(directory: Path) -> DuckDBFeatures:
    """The markets of a folder in a DuckDB file."""
    path = directory / "features.db"
    with duckdb.connect(path) as connection:
        files = directory / "features" / "AAA" / "1d" / "*.parquet"
        connection.execute(
            f"CREATE TABLE features AS SELECT 'AAA' AS ticker, '1d' AS timeframe, * FROM read_parquet('{files}')"
        )
    return DuckDBFeatures(path)


def parquet(directory: Path) -> ParquetFeatures:
    return ParquetFeatures(directory / "features")


@pytest.mark.parametrize("stored", [parquet, database])
def test_what_fits_is_loaded(tmp_path: Path, stored: Callable[[Path], FeatureSource]) -> None:
    write_market(tmp_path / "features", "AAA")
    source = stored(tmp_path)
    bars, streams = read(source, search_request(), TRAINER, memory=GIB)
    assert streams == {}
    assert bars["AAA"].data_hash == load(source, search_request())["AAA"].data_hash
    assert bars["AAA"].features.shape == (ROWS, len(NAMES))


def test_what_does_not_fit_is_streamed_from_parquet_files_over_the_span_that_is_asked_for(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA")
    request = search_request(data_end=datetime(2018, 1, 1, tzinfo=UTC))
    bars, streams = read(parquet(tmp_path), request, TRAINER, memory=GIB, stream_above=0)
    assert (streams["AAA"].where, streams["AAA"].feature_names) == ("AAA/1d", NAMES)
    assert bars["AAA"].features.shape == (len(load(parquet(tmp_path), request)["AAA"]), 0)


def test_what_does_not_fit_and_lies_in_a_database_is_refused(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA")
    with pytest.raises(Refused, match="not_streamable"):
        read(database(tmp_path), search_request(), TRAINER, memory=GIB, stream_above=0)


def test_tickers_that_are_not_there_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        read(parquet(tmp_path), search_request(("AAA", "BBB")), TRAINER, memory=GIB)
    assert [reason.where for reason in refusal.value.reasons] == ["AAA", "BBB"]
