import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.calendar import calendar_named
from orchestrator.core.lookahead import suspects
from orchestrator.features.indicators import FEATURES, WARM_UP
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.samples import (
    SAMPLE_TICKERS,
    SamplesUnavailable,
    adjusted,
    sample_bars,
    session_closes,
    write_samples,
)

SPLIT = np.datetime64("2005-02-28")


def code_of(refusal: pytest.ExceptionInfo[SamplesUnavailable]) -> str:
    (reason,) = refusal.value.reasons
    return reason.code


def test_the_split_of_2005_is_no_return_after_adjusting() -> None:
    import bokeh_sampledata.stocks as stocks

    at = stocks.AAPL["date"].index(str(SPLIT))
    assert stocks.AAPL["close"][at] / stocks.AAPL["close"][at - 1] == pytest.approx(0.50, abs=0.01)
    times, bars = sample_bars("AAPL")
    assert times[at].astype("datetime64[D]") == SPLIT
    for prices in (bars.open, bars.high, bars.low, bars.close):
        assert abs(np.log(prices[at] / prices[at - 1])) < 0.05


def test_adjusting_keeps_the_order_of_prices_and_the_money_that_changed_hands() -> None:
    raw = {"open": [8.0, 6.0], "high": [12.0, 7.0], "low": [8.0, 4.0], "close": [10.0, 5.0]}
    bars = adjusted(raw | {"volume": [100.0, 300.0], "adj_close": [5.0, 5.0]})
    np.testing.assert_allclose(bars.close, [5.0, 5.0])
    np.testing.assert_allclose(bars.open, [4.0, 6.0])
    np.testing.assert_allclose(bars.volume, [200.0, 300.0])
    for ticker in SAMPLE_TICKERS:
        _, sample = sample_bars(ticker)
        assert (sample.high >= np.maximum(sample.open, sample.close)).all()
        assert (sample.low <= np.minimum(sample.open, sample.close)).all()


def test_no_sample_return_is_the_size_of_a_split() -> None:
    for ticker in SAMPLE_TICKERS:
        _, bars = sample_bars(ticker)
        moves = np.abs(np.diff(np.log(bars.close)))
        assert np.sort(moves)[-2] < 0.25, ticker
        # Apple lost half its value in a day on its profit warning of September 2000.
        assert moves.max() < (0.74 if ticker == "AAPL" else 0.25), ticker


def test_bars_are_timed_by_the_close_of_their_session_in_utc() -> None:
    dates = ["2012-07-02", "2012-07-03", "2012-11-23", "2012-12-31"]
    closes = ["2012-07-02T20:00", "2012-07-03T17:00", "2012-11-23T18:00", "2012-12-31T21:00"]
    np.testing.assert_array_equal(session_closes(dates, "X"), np.array(closes, dtype="datetime64[us]"))


@pytest.mark.parametrize("strange", ["2012-07-04", "2012-07-07"])
def test_a_date_without_a_session_is_refused(strange: str) -> None:
    with pytest.raises(SamplesUnavailable, match=strange) as refusal:
        session_closes(["2012-07-03", strange], "X")
    assert code_of(refusal) == "no_session"


def test_samples_have_a_bar_for_every_session_of_their_span() -> None:
    calendar = calendar_named("XNYS")
    for ticker in SAMPLE_TICKERS:
        times, _ = sample_bars(ticker)
        assert (np.diff(calendar.session_index(times)) == 1).all(), ticker


def test_written_samples_are_a_sound_dataset(tmp_path: Path) -> None:
    rows = write_samples(tmp_path)
    assert rows == {"AAPL": 3270, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}
    source = ParquetFeatures(tmp_path)
    assert source.tickers("1d") == SAMPLE_TICKERS
    for ticker, count in rows.items():
        bars = source.load(ticker, "1d")
        assert len(bars) == count - WARM_UP
        assert bars.feature_names == tuple(sorted(FEATURES))
        assert all(column is not None for column in (bars.open, bars.high, bars.low, bars.volume))
        assert [path.name for path in (tmp_path / ticker / "1d").iterdir()] == ["bars.parquet"]
        assert suspects(bars) == ()


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "GOOG" / "1d" / "bars.parquet"
    write_samples(tmp_path, ["GOOG"])
    before = file.read_bytes()
    write_samples(tmp_path, ["GOOG"])
    assert file.read_bytes() == before


def test_a_ticker_without_samples_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SamplesUnavailable, match="AAPL, GOOG, IBM, MSFT") as refusal:
        write_samples(tmp_path, ["AAPL", "FB"])
    assert code_of(refusal) == "unknown_sample"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["bokeh_sampledata", "bokeh_sampledata.stocks"])
def test_without_the_package_the_error_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.delitem(sys.modules, "bokeh_sampledata.stocks", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SamplesUnavailable, match=r"ray-orchestrator\[samples\]") as refusal:
        write_samples(tmp_path)
    assert code_of(refusal) == "samples_missing"
