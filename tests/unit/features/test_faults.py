from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.features.parquet import ParquetFeatures
from tests.unit.features.datasets import ROWS, as_table, faults, sound_columns, write

Columns = dict[str, Any]


def without(*names: str) -> Callable[[Columns], Columns]:
    return lambda columns: {name: values for name, values in columns.items() if name not in names}


def with_value(name: str, row: int, value: object) -> Callable[[Columns], Columns]:
    def plant(columns: Columns) -> Columns:
        columns[name][row] = value
        return columns

    return plant


def reordered(columns: Columns) -> Columns:
    order = np.r_[0, 2, 1, 3:ROWS]
    return {name: values[order] for name, values in columns.items()}


def with_columns(**added: Any) -> Callable[[Columns], Columns]:
    return lambda columns: columns | added


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (without("event_time"), ("no_event_time", "ABC/1d")),
        (without("close"), ("no_close", "ABC/1d")),
        (without("a", "b"), ("no_features", "ABC/1d")),
        (with_columns(event_time=pa.array(range(ROWS), pa.timestamp("us"))), ("column_type", "ABC/1d/bars.parquet")),
        (with_columns(event_time=[str(n) for n in range(ROWS)]), ("column_type", "ABC/1d/bars.parquet")),
        (with_columns(ticker=["ABC"] * ROWS), ("column_type", "ABC/1d/bars.parquet")),
        (with_columns(**{"a b": np.arange(ROWS) * 1.0}), ("feature_name", "ABC/1d/a b")),
        (with_columns(__index_level_0__=np.arange(ROWS)), ("pandas_index", "ABC/1d/__index_level_0__")),
        (reordered, ("unsorted_bars", "ABC/1d")),
        (with_value("event_time", 8, sound_columns()["event_time"][7]), ("duplicate_bars", "ABC/1d")),
        (with_value("event_time", 7, np.datetime64("NaT")), ("time_missing", "ABC/1d")),
        (with_value("close", 60, np.nan), ("price_not_finite", "ABC/1d/close")),
        (with_value("open", 60, np.inf), ("price_not_finite", "ABC/1d/open")),
        (with_value("low", 60, 0.0), ("price_not_finite", "ABC/1d/low")),
        (with_value("high", 60, -1.0), ("price_not_finite", "ABC/1d/high")),
        (with_value("volume", 60, -1.0), ("volume_not_finite", "ABC/1d/volume")),
        (with_value("volume", 60, np.nan), ("volume_not_finite", "ABC/1d/volume")),
        (with_columns(b=np.full(ROWS, 0.25)), ("feature_constant", "ABC/1d/b")),
        (with_columns(b=np.full(ROWS, np.nan)), ("feature_not_finite", "ABC/1d/b")),
        (with_value("b", 60, np.nan), ("feature_not_finite", "ABC/1d/b")),
        (with_value("a", 60, -np.inf), ("feature_not_finite", "ABC/1d/a")),
        (lambda columns: {name: values[:104] for name, values in columns.items()}, ("too_few_rows", "ABC/1d")),
    ],
)
def test_each_fault_is_named_and_nothing_else(
    tmp_path: Path, plant: Callable[[Columns], Columns], expected: tuple[str, str]
) -> None:
    write(tmp_path, plant(sound_columns()))
    assert faults(tmp_path) == [expected]


def test_all_faults_of_a_dataset_are_named_at_once(tmp_path: Path) -> None:
    columns = sound_columns()
    columns["close"][50] = np.nan
    columns["b"][60] = np.inf
    columns["event_time"][9] = columns["event_time"][8]
    columns |= {"c": np.zeros(ROWS), "note": ["x"] * ROWS, "2d": np.arange(ROWS) * 1.0}
    write(tmp_path, columns)
    assert sorted(faults(tmp_path)) == [
        ("column_type", "ABC/1d/bars.parquet"),
        ("duplicate_bars", "ABC/1d"),
        ("feature_constant", "ABC/1d/c"),
        ("feature_name", "ABC/1d/2d"),
        ("feature_not_finite", "ABC/1d/b"),
        ("price_not_finite", "ABC/1d/close"),
    ]


def test_a_column_that_only_some_files_have_is_named_with_the_file_that_lacks_it(tmp_path: Path) -> None:
    table = as_table(sound_columns())
    write(tmp_path, dict(zip(table.column_names, table.slice(0, 80).columns, strict=True)), name="one")
    rest = table.slice(80).drop_columns(["b"])
    write(tmp_path, dict(zip(rest.column_names, rest.columns, strict=True)), name="two")
    assert faults(tmp_path) == [("columns_differ", "ABC/1d/two.parquet")]


def test_a_column_that_is_there_twice_makes_its_file_unreadable(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    table = as_table(sound_columns())
    pa.parquet.write_table(table.append_column("a", table["a"]), tmp_path / "ABC" / "1d" / "bars.parquet")
    assert faults(tmp_path) == [("unreadable_file", "ABC/1d/bars.parquet")]


def test_names_that_cannot_be_printed_are_escaped_in_the_reasons(tmp_path: Path) -> None:
    write(tmp_path, sound_columns() | {"a\x00\n" + "é" * 500: np.arange(ROWS) * 1.0})
    ((code, where),) = faults(tmp_path)
    assert code == "feature_name"
    assert where.startswith(r"ABC/1d/a\x00\n\xe9")
    assert len(where) == 256


def test_bars_that_two_files_hold_are_duplicates(tmp_path: Path) -> None:
    write(tmp_path, sound_columns(), name="one")
    write(tmp_path, sound_columns(), name="two")
    assert [code for code, _ in faults(tmp_path)] == ["unsorted_bars", "duplicate_bars", "feature_not_finite"]


def test_a_dataset_without_rows_has_too_few(tmp_path: Path) -> None:
    write(tmp_path, {name: values[:0] for name, values in sound_columns().items()})
    assert faults(tmp_path) == [("too_few_rows", "ABC/1d")]


def test_the_least_number_of_rows_is_the_callers_choice(tmp_path: Path) -> None:
    write(tmp_path, sound_columns(20))
    assert len(ParquetFeatures(tmp_path, minimum_rows=15).load("ABC", "1d")) == 15
