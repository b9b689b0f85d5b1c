from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.features.assembly import content_hash
from orchestrator.features.source import Extent, UnusableFeatures
from tests.contracts.features.storages import Storage, faults
from tests.unit.features.datasets import DAY, FIRST, ROWS, as_table, sound_columns

START = datetime(2020, 1, 1, 21, tzinfo=UTC)


def test_loads_prices_and_features_by_name_without_the_warm_up(storage: Storage) -> None:
    columns = sound_columns()
    storage.write(columns)
    bars = storage.source().load("ABC", "1d")
    assert (bars.ticker, bars.timeframe, bars.feature_names) == ("ABC", "1d", ("a", "b"))
    assert bars.event_time.dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(bars.event_time, columns["event_time"][5:])
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(bars, name), columns[name][5:])
    np.testing.assert_array_equal(bars.features, np.column_stack([columns["a"], columns["b"]])[5:])
    assert bars.features.flags.c_contiguous
    assert bars.features.dtype == np.float64


def test_the_same_bars_have_the_same_hash_wherever_they_are_stored(storage: Storage) -> None:
    columns = sound_columns()
    storage.write(columns)
    loaded = {name: values[5:] for name, values in columns.items()}
    assert storage.source().load("ABC", "1d").data_hash == content_hash(loaded.pop("event_time"), loaded)


def test_all_but_the_close_may_be_absent(storage: Storage) -> None:
    columns = sound_columns()
    storage.write({name: columns[name] for name in ("event_time", "close", "a")})
    bars = storage.source().load("ABC", "1d")
    assert (bars.open, bars.high, bars.low, bars.volume) == (None, None, None, None)


def test_datasets_of_different_columns_are_stored_beside_each_other(storage: Storage) -> None:
    columns = sound_columns()
    storage.write(columns)
    storage.write({name: columns[name] for name in ("event_time", "close", "a")}, "XYZ")
    storage.write(sound_columns(300) | {"c": np.arange(300) % 7}, "XYZ", "1h")
    source = storage.source()
    assert source.load("ABC", "1d").feature_names == ("a", "b")
    assert source.load("XYZ", "1d").feature_names == ("a",)
    assert source.load("XYZ", "1d").volume is None
    assert source.load("XYZ", "1h").feature_names == ("a", "b", "c")


def test_whole_numbers_flags_and_other_time_zones_are_read_as_what_they_mean(storage: Storage) -> None:
    columns = sound_columns()
    flag = np.arange(ROWS) % 2 == 0
    columns |= {"a": np.arange(ROWS, dtype=np.int32), "b": flag, "close": columns["close"].astype(np.float32)}
    columns["event_time"] = as_table(columns)["event_time"].cast(pa.timestamp("us", tz="America/New_York"))
    storage.write(columns)
    bars = storage.source().load("ABC", "1d")
    np.testing.assert_array_equal(bars.event_time, FIRST + DAY * np.arange(ROWS))
    np.testing.assert_array_equal(bars.features, np.column_stack([np.arange(ROWS), flag]).astype(float))
    np.testing.assert_array_equal(bars.close, columns["close"].astype(np.float64))


def test_a_span_includes_its_start_and_not_its_end(storage: Storage) -> None:
    storage.write(sound_columns(400))
    start, end = START + timedelta(days=100), START + timedelta(days=300)
    bars = storage.source().load("ABC", "1d", start, end)
    assert (bars.event_time[0], bars.event_time[-1]) == (FIRST + 100 * DAY, FIRST + 299 * DAY)
    assert storage.source().extent("ABC", "1d", start, end) == Extent(rows=200, columns=7)


def test_the_extent_counts_rows_with_the_warm_up_and_the_columns_of_numbers(storage: Storage) -> None:
    storage.write(sound_columns() | {"note": ["x"] * ROWS})
    storage.write({name: sound_columns(170)[name] for name in ("event_time", "close", "a")}, "XYZ")
    source = storage.source()
    assert source.extent("ABC", "1d") == Extent(rows=ROWS, columns=7)
    assert source.extent("XYZ", "1d") == Extent(rows=170, columns=2)
    assert source.extent("ABC", "1d", START + timedelta(days=400)) == Extent(rows=0, columns=7)


def test_faults_outside_the_span_do_not_count(storage: Storage) -> None:
    columns = sound_columns(400)
    columns["close"][10] = np.nan
    storage.write(columns)
    storage.source().load("ABC", "1d", datetime(2020, 2, 1, tzinfo=UTC))
    assert faults(storage.source()) == [("price_not_finite", "ABC/1d/close")]


def test_a_span_without_rows_has_too_few(storage: Storage) -> None:
    storage.write(sound_columns())
    with pytest.raises(UnusableFeatures, match="too_few_rows"):
        storage.source().load("ABC", "1d", START + timedelta(days=400))


def test_a_naive_bound_is_an_error_of_the_caller(storage: Storage) -> None:
    naive = datetime(2020, 1, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="UTC offset"):
        storage.source().load("ABC", "1d", naive)
    with pytest.raises(ValueError, match="UTC offset"):
        storage.source().extent("ABC", "1d", None, naive)


def test_lists_the_tickers_and_timeframes_that_have_bars(storage: Storage) -> None:
    source = storage.source()
    assert source.tickers("1d") == source.timeframes("A") == ()
    for ticker, timeframe in (("B", "1d"), ("A", "1d"), ("A", "5m"), ("A", "1h"), ("no ticker", "1d")):
        storage.write(sound_columns(), ticker, timeframe)
    assert source.tickers("1d") == ("A", "B")
    assert source.tickers("1h") == ("A",)
    assert source.tickers("1w") == ()
    assert source.timeframes("A") == ("5m", "1h", "1d")
    assert source.timeframes("C") == source.timeframes("../A") == ()


def test_the_least_number_of_rows_is_the_callers_choice(storage: Storage) -> None:
    storage.write(sound_columns(20))
    assert len(storage.source(minimum_rows=15).load("ABC", "1d")) == 15
