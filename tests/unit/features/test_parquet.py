from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from orchestrator.features.parquet import ParquetFeatures
from tests.contracts.features.storages import faults
from tests.unit.features.datasets import ROWS, as_table, sound_columns, write


def faults_in(directory: Path) -> list[tuple[str, str]]:
    return faults(ParquetFeatures(directory))


def test_a_directory_that_is_not_there_has_no_tickers(tmp_path: Path) -> None:
    assert ParquetFeatures(tmp_path / "none").tickers("1d") == ()
    assert faults_in(tmp_path / "none") == [("unknown_ticker", "ABC")]


def test_folders_without_parquet_files_are_no_datasets(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    for path in ("DEF/1d/x.csv", "DEF/x.parquet", "x.parquet", "ABC/x/bars.parquet"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert ParquetFeatures(tmp_path).tickers("1d") == ("ABC",)
    assert ParquetFeatures(tmp_path).timeframes("ABC") == ("1d",)


def test_files_may_be_named_in_any_order(tmp_path: Path) -> None:
    table = as_table(sound_columns())
    write(tmp_path, {name: table[name] for name in table.column_names})
    whole = ParquetFeatures(tmp_path).load("ABC", "1d")
    write(tmp_path, dict(zip(table.column_names, table.slice(0, 40).columns, strict=True)))
    write(tmp_path, dict(zip(table.column_names, table.slice(40).columns, strict=True)), name="a_later_part")
    parts = ParquetFeatures(tmp_path).load("ABC", "1d")
    assert parts.data_hash == whole.data_hash
    np.testing.assert_array_equal(parts.event_time, whole.event_time)
    assert ParquetFeatures(tmp_path).extent("ABC", "1d").rows == ROWS


def test_a_column_that_only_some_files_have_is_named_with_the_file_that_lacks_it(tmp_path: Path) -> None:
    table = as_table(sound_columns())
    write(tmp_path, dict(zip(table.column_names, table.slice(0, 80).columns, strict=True)), name="one")
    rest = table.slice(80).drop_columns(["b"])
    write(tmp_path, dict(zip(rest.column_names, rest.columns, strict=True)), name="two")
    assert faults_in(tmp_path) == [("columns_differ", "ABC/1d/two.parquet")]


def test_a_column_that_is_there_twice_makes_its_file_unreadable(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    table = as_table(sound_columns())
    pa.parquet.write_table(table.append_column("a", table["a"]), tmp_path / "ABC" / "1d" / "bars.parquet")
    assert faults_in(tmp_path) == [("unreadable_file", "ABC/1d/bars.parquet")]


def test_a_column_name_with_nul_is_escaped_in_the_reason(tmp_path: Path) -> None:
    write(tmp_path, sound_columns() | {"a\x00": np.arange(ROWS) * 1.0})
    assert faults_in(tmp_path) == [("feature_name", r"ABC/1d/a\x00")]


def test_bars_that_two_files_hold_are_duplicates(tmp_path: Path) -> None:
    write(tmp_path, sound_columns(), name="one")
    write(tmp_path, sound_columns(), name="two")
    assert [code for code, _ in faults_in(tmp_path)] == ["unsorted_bars", "duplicate_bars", "feature_not_finite"]


def test_a_dataset_without_rows_has_too_few(tmp_path: Path) -> None:
    write(tmp_path, {name: values[:0] for name, values in sound_columns().items()})
    assert faults_in(tmp_path) == [("too_few_rows", "ABC/1d")]


def test_a_link_that_leaves_the_directory_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", sound_columns())
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "ABC").symlink_to(tmp_path / "elsewhere" / "ABC")
    assert faults_in(tmp_path / "features") == [("outside_directory", "ABC/1d/bars.parquet")]


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    (tmp_path / "ABC" / "1d" / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    assert faults_in(tmp_path) == [("unreadable_file", "ABC/1d/torn.parquet")]


def test_times_finer_than_a_microsecond_are_not_rounded(tmp_path: Path) -> None:
    nanoseconds = pa.array(np.arange(ROWS) * 1001, pa.timestamp("ns", tz="UTC"))
    write(tmp_path, sound_columns() | {"event_time": nanoseconds})
    assert faults_in(tmp_path) == [("unreadable_file", "ABC/1d/bars.parquet")]
