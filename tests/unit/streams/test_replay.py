from datetime import UTC, datetime

import numpy as np

from orchestrator.core.bars import Bars
from streams.replay import in_step, tick_of

NOW = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)


def bars(ticker: str, *hours: int) -> Bars:
    event_time = np.datetime64("2020-01-02T21:00", "us") + np.array(hours) * np.timedelta64(1, "h")
    features = np.array([[float(hour), np.nan if hour == 0 else 0.5] for hour in hours])
    return Bars(
        ticker=ticker,
        timeframe="1h",
        event_time=event_time,
        close=100.0 + np.array(hours, dtype=np.float64),
        feature_names=("hour", "warm"),
        features=features,
        data_hash="0" * 64,
    )


def test_a_bar_is_a_tick_of_its_close_that_is_available_now() -> None:
    found = tick_of(bars("AAPL", 0, 1), 1, NOW, "replay")
    assert (found.ticker, found.timeframe, found.mode, found.price) == ("AAPL", "1h", "replay", 101.0)
    assert (found.event_time, found.available_at) == (datetime(2020, 1, 2, 22, tzinfo=UTC), NOW)
    assert found.features == {"hour": 1.0, "warm": 0.5}


def test_what_could_not_be_computed_is_null() -> None:
    assert tick_of(bars("AAPL", 0), 0, NOW).features == {"hour": 0.0, "warm": None}


def test_instruments_are_played_in_step_by_event_time() -> None:
    one, other = bars("AAPL", 0, 2, 3), bars("MSFT", 1, 2)
    found = in_step([one, other])
    assert [[(each.ticker, row) for each, row in together] for _, together in found] == [
        [("AAPL", 0)],
        [("MSFT", 0)],
        [("AAPL", 1), ("MSFT", 1)],
        [("AAPL", 2)],
    ]
    moments = [moment for moment, _ in found]
    assert moments == sorted(moments)


def test_nothing_is_played_of_nothing() -> None:
    assert in_step([]) == []
