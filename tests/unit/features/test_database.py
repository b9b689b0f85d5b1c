import subprocess
import sys
from datetime import UTC
from pathlib import Path

import duckdb
import numpy as np
import pytest

from orchestrator.features.database import DuckDBFeatures
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import UnusableFeatures
from orchestrator.features.sources import source_at
from tests.contracts.features.storages import DuckDBStorage, faults
from tests.unit.features.datasets import ROWS, sound_columns, write

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); input()"
APPEND = (
    "INSERT INTO features SELECT * REPLACE (event_time + INTERVAL 1 DAY AS event_time) FROM features "
    "ORDER BY event_time DESC LIMIT 1"
)
APPEND_AND_DIE = "import duckdb, os, sys; held = duckdb.connect(sys.argv[1]); held.execute(sys.argv[2]); os._exit(1)"


def test_the_database_is_read_where_one_is_named_else_the_folders(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    DuckDBStorage(tmp_path).write(sound_columns(200), "XYZ")
    folders, database = source_at(tmp_path, None), source_at(tmp_path, tmp_path / "features.db")
    assert (type(folders), folders.tickers("1d")) == (ParquetFeatures, ("ABC",))
    assert (type(database), database.tickers("1d")) == (DuckDBFeatures, ("XYZ",))
    assert len(source_at(tmp_path, None, minimum_rows=1).load("ABC", "1d")) == ROWS - 5


def test_parquet_and_duckdb_give_the_same_bars_and_hash(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    DuckDBStorage(tmp_path).write(sound_columns())
    one, other = (
        source.load("ABC", "1d") for source in (source_at(tmp_path, None), DuckDBFeatures(tmp_path / "features.db"))
    )
    assert one.data_hash == other.data_hash
    assert one.features.tobytes() == other.features.tobytes()


def test_a_file_that_is_not_there_has_no_tickers_and_cannot_be_loaded(tmp_path: Path) -> None:
    source = DuckDBFeatures(tmp_path / "features.db")
    assert source.tickers("1d") == source.timeframes("ABC") == ()
    assert faults(source) == [("unreadable_file", "ABC/1d/features.db")]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    path.write_bytes(b"not a database " * 1000)
    assert faults(DuckDBFeatures(path)) == [("unreadable_file", "ABC/1d/features.db")]
    with pytest.raises(UnusableFeatures, match="not a valid DuckDB database"):
        DuckDBFeatures(path).tickers("1d")


def test_while_another_program_writes_the_file_cannot_be_read_and_afterwards_it_can(tmp_path: Path) -> None:
    DuckDBStorage(tmp_path).write(sound_columns())
    path = tmp_path / "features.db"
    source = DuckDBFeatures(path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert faults(source) == [("unreadable_file", "ABC/1d/features.db")]
        with pytest.raises(UnusableFeatures, match="while a program has it open to write, no other can read it"):
            source.tickers("1d")
        writer.communicate(b"\n")
    assert source.tickers("1d") == ("ABC",)


def test_between_two_loads_rows_may_be_appended(tmp_path: Path) -> None:
    DuckDBStorage(tmp_path).write(sound_columns())
    source = DuckDBFeatures(tmp_path / "features.db")
    before = source.load("ABC", "1d")
    with duckdb.connect(tmp_path / "features.db") as connection:
        connection.execute(APPEND)
    after = source.load("ABC", "1d")
    assert len(after) == len(before) + 1
    assert after.data_hash != before.data_hash


def test_what_a_writer_committed_before_it_died_is_read(tmp_path: Path) -> None:
    DuckDBStorage(tmp_path).write(sound_columns())
    path = tmp_path / "features.db"
    subprocess.run([sys.executable, "-c", APPEND_AND_DIE, str(path), APPEND], check=False)
    assert path.with_name("features.db.wal").exists()
    assert DuckDBFeatures(path).extent("ABC", "1d").rows == ROWS + 1


def test_a_file_without_the_table_or_its_keys_is_named(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE other AS SELECT 1 AS ticker")
    assert faults(DuckDBFeatures(path)) == [("no_features_table", "ABC/1d/features.db")]
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE features AS SELECT 'ABC' AS ticker, 1.0 AS close")
    assert faults(DuckDBFeatures(path)) == [("no_features_table", "ABC/1d/features.db")]
    with pytest.raises(UnusableFeatures, match="lacks the columns: timeframe"):
        DuckDBFeatures(path).tickers("1d")


def test_a_column_without_a_value_in_the_span_is_still_a_feature_of_the_ticker(tmp_path: Path) -> None:
    columns = sound_columns(400)
    columns["b"] = np.where(np.arange(400) < 350, columns["b"], np.nan)
    DuckDBStorage(tmp_path).write(columns)
    with duckdb.connect(tmp_path / "features.db") as connection:
        connection.execute("UPDATE features SET b = NULL WHERE isnan(b)")
    source = DuckDBFeatures(tmp_path / "features.db", minimum_rows=10)
    with pytest.raises(UnusableFeatures, match="feature_not_finite"):
        source.load("ABC", "1d", columns["event_time"][360].item().replace(tzinfo=UTC))


def test_decimals_and_huge_whole_numbers_are_numbers(tmp_path: Path) -> None:
    DuckDBStorage(tmp_path).write(sound_columns())
    with duckdb.connect(tmp_path / "features.db") as connection:
        connection.execute("ALTER TABLE features ALTER a TYPE DECIMAL(18, 6)")
        connection.execute("ALTER TABLE features ALTER volume TYPE HUGEINT USING (volume * 1e6)::HUGEINT")
    bars = DuckDBFeatures(tmp_path / "features.db").load("ABC", "1d")
    np.testing.assert_allclose(bars.features[:, 0], sound_columns()["a"][5:], atol=1e-6)
    assert bars.volume is not None
    np.testing.assert_array_equal(bars.volume, np.rint(bars.volume))
