"""Where a contract's bars are stored: each kind writes them its own way, and is read by its own source."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pytest

from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import FeatureSource, UnusableFeatures
from tests.unit.features.datasets import as_table, write


class Storage(Protocol):
    """Bars at rest."""

    file: str
    """What the file is called in which a dataset lies."""
    keeps_order: bool
    """Whether rows are read in the order in which they were written."""

    def write(self, columns: Mapping[str, Any], ticker: str = "ABC", timeframe: str = "1d") -> None:
        """Store a dataset beside those that are there already."""
        ...

    def source(self, **options: Any) -> FeatureSource:
        """What reads it."""
        ...


class ParquetStorage:
    """Folders of parquet files."""

    file = "bars.parquet"
    keeps_order = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, columns: Mapping[str, Any], ticker: str = "ABC", timeframe: str = "1d") -> None:
        write(self._directory, columns, ticker=ticker, timeframe=timeframe)

    def source(self, **options: Any) -> FeatureSource:
        return ParquetFeatures(self._directory, **options)


class DuckDBStorage:
    """One table for all datasets, which gets the columns of each.

    DuckDB is imported where it is used: it complains on leaving if modules that pytest keeps to the end refer to it.
    """

    file = "features.db"
    keeps_order = False

    def __init__(self, directory: Path) -> None:
        self._path = directory / self.file
        self._stored: list[pa.Table] = []

    def write(self, columns: Mapping[str, Any], ticker: str = "ABC", timeframe: str = "1d") -> None:
        rows = as_table(columns)
        for place, (name, value) in enumerate({"ticker": ticker, "timeframe": timeframe}.items()):
            rows = rows.add_column(place, name, pa.array([value] * rows.num_rows, pa.string()))
        self._stored.append(rows)
        self._path.unlink(missing_ok=True)
        whole = pa.concat_tables(self._stored, promote_options="default")
        import duckdb

        with duckdb.connect(self._path) as connection:
            connection.register("whole", whole)
            connection.execute("CREATE TABLE features AS SELECT * FROM whole")

    def source(self, **options: Any) -> FeatureSource:
        from orchestrator.features.database import DuckDBFeatures

        return DuckDBFeatures(self._path, **options)


STORAGES: dict[str, Callable[[Path], Storage]] = {"parquet": ParquetStorage, "duckdb": DuckDBStorage}


def faults(source: FeatureSource, ticker: str = "ABC", timeframe: str = "1d") -> list[tuple[str, str]]:
    """Code and place of every fault that loading finds."""
    with pytest.raises(UnusableFeatures) as refusal:
        source.load(ticker, timeframe)
    assert all(len(reason.message) > 20 for reason in refusal.value.reasons)
    return [(reason.code, reason.where) for reason in refusal.value.reasons]
