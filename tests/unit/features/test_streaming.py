from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.features.blocks import Changed, blocks_of
from orchestrator.features.database import DuckDBFeatures
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import UnusableFeatures
from orchestrator.features.streaming import samples, stream
from tests.unit.features.datasets import DAY, FIRST, ROWS, as_table, sound_columns, write

SPANS = [(None, None), (datetime(2020, 1, 20, tzinfo=UTC), None), (None, datetime(2020, 5, 20, tzinfo=UTC))]


def write_parts(directory: Path, columns: dict[str, Any]) -> None:
    """In three files of small row groups, their names in no order."""
    for name, part in (("c", slice(0, 60)), ("a", slice(60, 61)), ("b", slice(61, None))):
        write(directory, {key: values[part] for key, values in columns.items()}, name, row_group_size=7)


@pytest.mark.parametrize("span", SPANS)
def test_times_prices_names_and_hash_are_those_of_the_loaded_bars(tmp_path: Path, span: tuple[Any, Any]) -> None:
    write_parts(tmp_path, sound_columns())
    source = ParquetFeatures(tmp_path)
    loaded = source.load("ABC", "1d", *span)
    bars, features = stream(source, "ABC", "1d", *span)
    assert (bars.data_hash, features.feature_names) == (loaded.data_hash, loaded.feature_names)
    assert (bars.feature_names, bars.features.shape) == ((), (len(loaded), 0))
    for name in ("event_time", "open", "close"):
        np.testing.assert_array_equal(getattr(bars, name), getattr(loaded, name))
    assert (bars.high, bars.low, bars.volume) == (None, None, None)


def constant(columns: dict[str, Any]) -> None:
    columns["a"][:] = 3.0


def scaled(columns: dict[str, Any]) -> None:
    known = columns["a"]
    columns["a"] = (known - known.mean()) / known.std()


def not_finite(columns: dict[str, Any]) -> None:
    columns["b"][70] = np.inf
    columns["high"][70] = np.nan
    columns["close"][80] = -1.0


def repeated(columns: dict[str, Any]) -> None:
    columns["event_time"][30] = columns["event_time"][31]


def never_known(columns: dict[str, Any]) -> None:
    columns["b"][:] = np.nan


@pytest.mark.parametrize("fault", [constant, scaled, not_finite, repeated, never_known])
@pytest.mark.parametrize("span", SPANS)
def test_what_is_wrong_is_what_loading_finds_wrong(tmp_path: Path, fault: Any, span: tuple[Any, Any]) -> None:
    columns = sound_columns()
    fault(columns)
    write_parts(tmp_path, columns)
    source = ParquetFeatures(tmp_path)
    with pytest.raises(UnusableFeatures) as expected:
        source.load("ABC", "1d", *span)
    with pytest.raises(UnusableFeatures) as refused:
        stream(source, "ABC", "1d", *span)
    assert set(refused.value.reasons) == set(expected.value.reasons)


def test_a_database_is_not_streamed(tmp_path: Path) -> None:
    with pytest.raises(UnusableFeatures, match="not_streamable"):
        stream(DuckDBFeatures(tmp_path / "features.db"), "ABC", "1d")


@pytest.mark.parametrize("chosen", [slice(0, 1), slice(50, 70), slice(None)])
def test_a_few_rows_are_those_of_the_loaded_bars(tmp_path: Path, chosen: slice) -> None:
    write_parts(tmp_path, sound_columns())
    loaded = ParquetFeatures(tmp_path).load("ABC", "1d")
    _, features = stream(ParquetFeatures(tmp_path), "ABC", "1d")
    times = loaded.event_time[chosen]
    np.testing.assert_array_equal(features.rows(times), loaded.features[chosen])
    np.testing.assert_array_equal(features.rows(times, ["volume"])[:, 0], loaded.volume[chosen])  # type: ignore[index]


def test_many_rows_come_in_their_order_a_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.features.blocks.HELD_VALUES", 22)
    monkeypatch.setattr("orchestrator.features.blocks.HELD_ROWS", 1)
    write_parts(tmp_path, sound_columns())
    loaded = ParquetFeatures(tmp_path).load("ABC", "1d")
    bars, features = stream(ParquetFeatures(tmp_path), "ABC", "1d")
    blocks = list(features.in_order(bars.event_time))
    assert {len(block) for block in blocks[:-1]} == {11}
    np.testing.assert_array_equal(np.concatenate(blocks), loaded.features)


def test_rows_of_files_that_were_written_again_or_removed_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, sound_columns())
    bars, features = stream(ParquetFeatures(tmp_path), "ABC", "1d")
    write_parts(tmp_path, sound_columns(seed=4))
    with pytest.raises(Changed, match="data_changed") as refusal:
        features.rows(bars.event_time)
    assert [reason.where for reason in refusal.value.reasons] == ["ABC/1d"]
    _, features = stream(ParquetFeatures(tmp_path), "ABC", "1d")
    with pytest.raises(Changed, match="1 of 2 rows were found"):
        features.rows(np.array([FIRST - DAY, bars.event_time[0]]))
    (tmp_path / "ABC" / "1d" / "a.parquet").unlink()
    with pytest.raises(Changed, match="1 files have been written again or removed"):
        features.rows(bars.event_time)


def test_a_sample_of_few_bars_is_all_that_is_loaded(tmp_path: Path) -> None:
    write_parts(tmp_path, sound_columns())
    loaded = ParquetFeatures(tmp_path).load("ABC", "1d")
    (sample,) = samples(*stream(ParquetFeatures(tmp_path), "ABC", "1d"))
    assert (sample.feature_names, sample.data_hash) == (loaded.feature_names, loaded.data_hash)
    for name in ("event_time", "open", "high", "low", "close", "volume", "features"):
        np.testing.assert_array_equal(getattr(sample, name), getattr(loaded, name))


def test_of_many_bars_the_oldest_the_newest_and_some_in_the_middle_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.features.streaming.SAMPLE_ROWS", 20)
    monkeypatch.setattr("orchestrator.features.streaming.SAMPLE_VALUES", 1)
    write_parts(tmp_path, sound_columns(105))
    loaded = ParquetFeatures(tmp_path).load("ABC", "1d")
    found = list(samples(*stream(ParquetFeatures(tmp_path), "ABC", "1d")))
    for sample, begin in zip(found, (0, 40, 80), strict=True):
        np.testing.assert_array_equal(sample.event_time, loaded.event_time[begin : begin + 20])
        np.testing.assert_array_equal(sample.features, loaded.features[begin : begin + 20])
        assert sample.high is not None
        np.testing.assert_array_equal(sample.high, loaded.high[begin : begin + 20])  # type: ignore[index]


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, sound_columns())
    with pytest.raises(UnusableFeatures, match="too_few_rows"):
        stream(ParquetFeatures(tmp_path), "ABC", "1d", end=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=50))


def test_a_long_warm_up_is_found_beyond_the_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.features.streaming.HEAD", 3)
    columns = sound_columns(400)
    columns["a"][:90] = np.nan
    write(tmp_path, columns)
    assert stream(ParquetFeatures(tmp_path), "ABC", "1d")[0].event_time[0] == columns["event_time"][90]


@given(data=st.data())
def test_blocks_have_each_wanted_row_once_whatever_the_rows_that_are_stored_together(data: st.DataObject) -> None:
    columns = {name: sound_columns()[name] for name in ("event_time", "a", "b")}
    numbered = np.sort(data.draw(st.permutations(range(ROWS)))[: data.draw(st.integers(1, ROWS))])
    first, stop = sorted(data.draw(st.tuples(st.integers(0, len(numbered)), st.integers(0, len(numbered)))))
    cuts = sorted(data.draw(st.lists(st.integers(0, ROWS), max_size=4)))
    rows = data.draw(st.integers(1, ROWS))
    found: dict[int, Any] = {}
    for part in np.split(np.arange(ROWS), cuts):
        stored = as_table({name: values[part] for name, values in columns.items()})
        for begin, features in blocks_of(stored, columns["event_time"][numbered], ("b", "a"), range(first, stop), rows):
            assert 0 < len(features) <= rows
            assert not found.keys() & range(begin, begin + len(features))
            found |= dict(enumerate(features, begin))
    assert sorted(found) == list(range(first, stop))
    for number, row in found.items():
        np.testing.assert_array_equal(row, [columns[name][numbered[number]] for name in ("b", "a")])


def test_stored_rows_of_other_times_are_skipped() -> None:
    stored = as_table({"event_time": np.array([FIRST]), "a": np.array([1.0])})
    other = np.array([FIRST + np.timedelta64(1, "h")])
    assert list(blocks_of(stored, other, ("a",), range(1), 10)) == []
