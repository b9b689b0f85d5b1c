from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import FeatureSource
from tests.unit.features.datasets import DAY, FIRST, ROWS, as_table, faults, sound_columns, write


def test_loads_prices_and_features_by_name_without_the_warm_up(tmp_path: Path) -> None:
    columns = sound_columns()
    write(tmp_path, columns)
    source: FeatureSource = ParquetFeatures(tmp_path)
    bars = source.load("ABC", "1d")
    assert (bars.ticker, bars.timeframe, bars.feature_names) == ("ABC", "1d", ("a", "b"))
    assert bars.event_time.dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(bars.event_time, columns["event_time"][5:])
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(bars, name), columns[name][5:])
    np.testing.assert_array_equal(bars.features, np.column_stack([columns["a"], columns["b"]])[5:])
    assert bars.features.flags.c_contiguous
    assert bars.features.dtype == np.float64


def test_all_but_the_close_may_be_absent(tmp_path: Path) -> None:
    columns = sound_columns()
    write(tmp_path, {name: columns[name] for name in ("event_time", "close", "a")})
    bars = ParquetFeatures(tmp_path).load("ABC", "1d")
    assert (bars.open, bars.high, bars.low, bars.volume) == (None, None, None, None)


def test_whole_numbers_flags_and_other_time_zones_are_read_as_what_they_mean(tmp_path: Path) -> None:
    columns = sound_columns()
    flag = np.arange(ROWS) % 2 == 0
    columns |= {"a": np.arange(ROWS, dtype=np.int32), "b": flag, "close": columns["close"].astype(np.float32)}
    columns["event_time"] = as_table(columns)["event_time"].cast(pa.timestamp("ns", tz="America/New_York"))
    write(tmp_path, columns)
    bars = ParquetFeatures(tmp_path).load("ABC", "1d")
    np.testing.assert_array_equal(bars.event_time, FIRST + DAY * np.arange(ROWS))
    np.testing.assert_array_equal(bars.features, np.column_stack([np.arange(ROWS), flag]).astype(float))


def test_a_span_includes_its_start_and_not_its_end(tmp_path: Path) -> None:
    write(tmp_path, sound_columns(400))
    start = datetime(2020, 1, 1, 21, tzinfo=UTC) + timedelta(days=100)
    bars = ParquetFeatures(tmp_path).load("ABC", "1d", start, start + timedelta(days=200))
    assert (bars.event_time[0], bars.event_time[-1]) == (FIRST + 100 * DAY, FIRST + 299 * DAY)


def test_faults_outside_the_span_do_not_count(tmp_path: Path) -> None:
    columns = sound_columns(400)
    columns["close"][10] = np.nan
    write(tmp_path, columns)
    ParquetFeatures(tmp_path).load("ABC", "1d", datetime(2020, 2, 1, tzinfo=UTC))
    assert faults(tmp_path) == [("price_not_finite", "ABC/1d/close")]


def test_a_naive_bound_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="UTC offset"):
        ParquetFeatures(tmp_path).load("ABC", "1d", datetime(2020, 1, 1))  # noqa: DTZ001


def test_lists_tickers_and_timeframes_that_have_files(tmp_path: Path) -> None:
    source = ParquetFeatures(tmp_path)
    assert source.tickers("1d") == ()
    for path in (
        "B/1d/x.parquet",
        "A/1d/x.parquet",
        "A/5m/x.parquet",
        "A/1h/x.parquet",
        "C/1d/x.csv",
        "no ticker/1d/x.parquet",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert source.tickers("1d") == ("A", "B")
    assert source.tickers("1h") == ("A",)
    assert source.timeframes("A") == ("5m", "1h", "1d")
    assert source.timeframes("C") == source.timeframes("../A") == ()


def test_files_may_be_named_in_any_order(tmp_path: Path) -> None:
    table = as_table(sound_columns())
    write(tmp_path, {name: table[name] for name in table.column_names})
    whole = ParquetFeatures(tmp_path).load("ABC", "1d")
    write(tmp_path, dict(zip(table.column_names, table.slice(0, 40).columns, strict=True)))
    write(tmp_path, dict(zip(table.column_names, table.slice(40).columns, strict=True)), name="a_later_part")
    parts = ParquetFeatures(tmp_path).load("ABC", "1d")
    assert parts.data_hash == whole.data_hash
    np.testing.assert_array_equal(parts.event_time, whole.event_time)


@pytest.mark.parametrize("ticker", ["../ABC", "ABC/1d", "..", "", ".", "/etc", "A\x00B", "ABC\n", "A" * 300])
def test_what_is_no_ticker_never_becomes_a_path(tmp_path: Path, ticker: str) -> None:
    write(tmp_path, sound_columns())
    assert faults(tmp_path / "ABC", ticker) == [("invalid_ticker", ascii(ticker)[1:-1][:256])]


def test_ticker_and_timeframe_are_both_named_when_both_are_wrong(tmp_path: Path) -> None:
    assert faults(tmp_path, "..", "../1d") == [("invalid_ticker", ".."), ("invalid_timeframe", "../1d")]


def test_a_link_that_leaves_the_directory_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", sound_columns())
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "ABC").symlink_to(tmp_path / "elsewhere" / "ABC")
    assert faults(tmp_path / "features") == [("outside_directory", "ABC/1d/bars.parquet")]


def test_an_unknown_ticker_or_timeframe_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path) == [("unknown_ticker", "ABC")]
    write(tmp_path, sound_columns())
    assert faults(tmp_path, "XYZ") == [("unknown_ticker", "XYZ")]
    assert faults(tmp_path, "ABC", "5m") == [("unknown_timeframe", "ABC/5m")]


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write(tmp_path, sound_columns())
    (tmp_path / "ABC" / "1d" / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    assert faults(tmp_path) == [("unreadable_file", "ABC/1d/torn.parquet")]


def test_times_finer_than_a_microsecond_are_not_rounded(tmp_path: Path) -> None:
    columns = sound_columns()
    nanoseconds = pa.array(np.arange(ROWS) * 1001, pa.timestamp("ns", tz="UTC"))
    write(tmp_path, columns | {"event_time": nanoseconds})
    assert faults(tmp_path) == [("unreadable_file", "ABC/1d/bars.parquet")]
