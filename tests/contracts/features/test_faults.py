from collections.abc import Callable
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.features.source import UnusableFeatures
from tests.contracts.features.storages import Storage, faults
from tests.unit.features.datasets import ROWS, sound_columns

Columns = dict[str, Any]
Plant = Callable[[Columns], Columns]


def without(*names: str) -> Plant:
    return lambda columns: {name: values for name, values in columns.items() if name not in names}


def with_value(name: str, row: int, value: object) -> Plant:
    def plant(columns: Columns) -> Columns:
        columns[name][row] = value
        return columns

    return plant


def with_columns(**added: Any) -> Plant:
    return lambda columns: columns | added


def standardised(columns: Columns) -> Columns:
    known = columns["b"][5:]
    columns["b"][5:] = (known - known.mean()) / known.std()
    return columns


@pytest.mark.parametrize(
    ("plant", "code", "inside"),
    [
        (without("event_time"), "no_event_time", ""),
        (without("close"), "no_close", ""),
        (without("a", "b"), "no_features", ""),
        (with_columns(event_time=pa.array(range(ROWS), pa.timestamp("us"))), "column_type", "/{file}"),
        (with_columns(event_time=[str(n) for n in range(ROWS)]), "column_type", "/{file}"),
        (with_columns(note=["ABC"] * ROWS), "column_type", "/{file}"),
        (with_columns(**{"a b": np.arange(ROWS) * 1.0}), "feature_name", "/a b"),
        (with_columns(__index_level_0__=np.arange(ROWS)), "pandas_index", "/__index_level_0__"),
        (with_value("event_time", 8, sound_columns()["event_time"][7]), "duplicate_bars", ""),
        (with_value("event_time", 7, np.datetime64("NaT")), "time_missing", ""),
        (with_value("close", 60, np.nan), "price_not_finite", "/close"),
        (with_value("open", 60, np.inf), "price_not_finite", "/open"),
        (with_value("low", 60, 0.0), "price_not_finite", "/low"),
        (with_value("high", 60, -1.0), "price_not_finite", "/high"),
        (with_value("volume", 60, -1.0), "volume_not_finite", "/volume"),
        (with_value("volume", 60, np.nan), "volume_not_finite", "/volume"),
        (with_columns(b=np.full(ROWS, 0.25)), "feature_constant", "/b"),
        (with_columns(b=np.full(ROWS, np.nan)), "feature_not_finite", "/b"),
        (with_value("b", 60, np.nan), "feature_not_finite", "/b"),
        (with_value("a", 60, -np.inf), "feature_not_finite", "/a"),
        (with_columns(a=np.arange(ROWS) + 2**53), "unreadable_file", "/{file}"),
        (standardised, "scaled_on_the_whole_sample", "/b"),
        (lambda columns: {name: values[:104] for name, values in columns.items()}, "too_few_rows", ""),
    ],
)
def test_each_fault_is_named_and_nothing_else(storage: Storage, plant: Plant, code: str, inside: str) -> None:
    storage.write(plant(sound_columns()))
    assert faults(storage.source()) == [(code, "ABC/1d" + inside.format(file=storage.file))]


def test_rows_that_are_out_of_order_are_named_where_rows_have_an_order(storage: Storage) -> None:
    order = np.r_[0, 2, 1, 3:ROWS]
    storage.write({name: values[order] for name, values in sound_columns().items()})
    if storage.keeps_order:
        assert faults(storage.source()) == [("unsorted_bars", "ABC/1d")]
    else:
        assert (np.diff(storage.source().load("ABC", "1d").event_time) > np.timedelta64(0)).all()


def test_all_faults_of_a_dataset_are_named_at_once(storage: Storage) -> None:
    columns = sound_columns()
    columns["close"][50] = np.nan
    columns["b"][60] = np.inf
    columns["event_time"][9] = columns["event_time"][8]
    columns |= {"c": np.zeros(ROWS), "note": ["x"] * ROWS, "2d": np.arange(ROWS) * 1.0}
    storage.write(columns)
    assert sorted(faults(storage.source())) == [
        ("column_type", f"ABC/1d/{storage.file}"),
        ("duplicate_bars", "ABC/1d"),
        ("feature_constant", "ABC/1d/c"),
        ("feature_name", "ABC/1d/2d"),
        ("feature_not_finite", "ABC/1d/b"),
        ("price_not_finite", "ABC/1d/close"),
    ]


def test_names_that_cannot_be_printed_are_escaped_in_the_reasons(storage: Storage) -> None:
    storage.write(sound_columns() | {"a\n" + "é" * 500: np.arange(ROWS) * 1.0})
    ((code, where),) = faults(storage.source())
    assert code == "feature_name"
    assert where.startswith(r"ABC/1d/a\n\xe9")
    assert len(where) == 256


def test_what_was_scaled_on_all_rows_is_named_whatever_part_of_them_is_loaded(storage: Storage) -> None:
    columns = standardised(sound_columns(400))
    storage.write(columns)
    for start, end in ((100, 300), (0, 250), (150, 400)):
        times = columns["event_time"].tolist()
        first, last = (None if row in (0, 400) else times[row].replace(tzinfo=UTC) for row in (start, end))
        with pytest.raises(UnusableFeatures) as refusal:
            storage.source().load("ABC", "1d", first, last)
        assert [reason.code for reason in refusal.value.reasons] == ["scaled_on_the_whole_sample"]


@pytest.mark.parametrize(
    "ticker", ["../ABC", "ABC/1d", "..", "", ".", "/etc", "A\x00B", "ABC\n", "A" * 300, "A' OR 1=1"]
)
def test_what_is_no_ticker_is_never_looked_for(storage: Storage, ticker: str) -> None:
    storage.write(sound_columns())
    assert faults(storage.source(), ticker) == [("invalid_ticker", ascii(ticker)[1:-1][:256])]


def test_ticker_and_timeframe_are_both_named_when_both_are_wrong(storage: Storage) -> None:
    assert faults(storage.source(), "..", "../1d") == [("invalid_ticker", ".."), ("invalid_timeframe", "../1d")]


def test_an_unknown_ticker_or_timeframe_is_named(storage: Storage) -> None:
    storage.write(sound_columns())
    assert faults(storage.source(), "XYZ") == [("unknown_ticker", "XYZ")]
    assert faults(storage.source(), "ABC", "5m") == [("unknown_timeframe", "ABC/5m")]
    for ticker, timeframe in (("XYZ", "1d"), ("ABC", "5m"), ("..", "1d")):
        with pytest.raises(UnusableFeatures):
            storage.source().extent(ticker, timeframe)
