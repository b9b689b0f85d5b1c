from datetime import UTC, datetime

import numpy as np
import pytest

from orchestrator.core.calendar import bar_length, calendar_named, is_intraday
from orchestrator.core.errors import Refused


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_sessions_per_year_are_252_in_new_york_and_365_around_the_clock() -> None:
    assert calendar_named("XNYS").sessions_per_year == 252
    assert calendar_named("24/7").sessions_per_year == 365


def test_a_calendar_is_built_once() -> None:
    assert calendar_named("XNYS") is calendar_named("XNYS")


def test_calendars_with_bounds_of_their_own_stay_within_them() -> None:
    saudi = calendar_named("XSAU")
    assert saudi.session_closes(utc("2000-01-01"), utc("2020-12-31")).size == 0
    assert saudi.session_closes(utc("2029-01-01"), utc("2029-12-31")).size > 200


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(Refused, match="there is no calendar 'NOWHERE'"):
        calendar_named("NOWHERE")


@pytest.mark.parametrize(
    ("event_time", "timeframe", "expected"),
    [
        ("2024-07-02 20:00", "1d", "2024-07-03 17:00"),
        ("2024-07-03 17:00", "1d", "2024-07-05 20:00"),
        ("2024-07-03 17:00", "2d", "2024-07-08 20:00"),
        ("2024-03-08 21:00", "1d", "2024-03-11 20:00"),
        ("2024-07-05 20:00", "1w", "2024-07-12 20:00"),
        ("2024-03-22 20:00", "1w", "2024-03-28 20:00"),
        ("2024-07-03 16:50", "5m", "2024-07-03 16:55"),
        ("2024-07-03 17:00", "5m", "2024-07-05 13:35"),
        ("2024-07-05 19:30", "1h", "2024-07-05 20:00"),
        ("2024-07-06 12:00", "1h", "2024-07-08 14:30"),
    ],
)
def test_the_next_bar_closes_with_its_session_at_the_latest(event_time: str, timeframe: str, expected: str) -> None:
    assert calendar_named("XNYS").next_close(utc(event_time), timeframe) == utc(expected)


@pytest.mark.parametrize(
    ("event_time", "timeframe", "expected"),
    [
        ("2024-07-06 23:30", "1h", "2024-07-07 00:30"),
        ("2024-07-06 00:00", "1d", "2024-07-07 00:00"),
        ("2024-07-08 00:00", "1w", "2024-07-15 00:00"),
    ],
)
def test_around_the_clock_bars_follow_one_another(event_time: str, timeframe: str, expected: str) -> None:
    assert calendar_named("24/7").next_close(utc(event_time), timeframe) == utc(expected)


def test_a_bar_belongs_to_the_session_that_closes_at_or_after_it() -> None:
    times = np.array(["2024-07-03T17:00", "2024-07-03T17:01", "2024-07-05T20:00", "2024-07-08T13:35"], "datetime64[us]")
    index = calendar_named("XNYS").session_index(times)
    assert index.dtype == np.int64
    assert (index - index[0]).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("event_time", "close"),
    [
        ("2024-07-03 17:00", "2024-07-03 17:00"),
        ("2024-07-03 17:01", "2024-07-05 20:00"),
        ("2024-07-06 12:00", "2024-07-08 20:00"),
    ],
)
def test_the_session_of_a_bar_closes_at_or_after_it(event_time: str, close: str) -> None:
    assert calendar_named("XNYS").session_close(utc(event_time)) == utc(close)


def test_the_closes_of_a_span_include_both_its_ends() -> None:
    closes = calendar_named("XNYS").session_closes(utc("2024-07-03 17:00"), utc("2024-07-08 20:00"))
    assert closes.astype(str).tolist() == [
        "2024-07-03T17:00:00.000000",
        "2024-07-05T20:00:00.000000",
        "2024-07-08T20:00:00.000000",
    ]


def test_a_bar_crosses_the_close_when_it_would_end_after_it() -> None:
    calendar = calendar_named("XNYS")
    assert not calendar.crosses_close(utc("2024-07-05 19:50"), "5m", 2)
    assert calendar.crosses_close(utc("2024-07-05 19:55"), "5m", 2)
    assert calendar.crosses_close(utc("2024-07-05 20:00"), "5m", 1)


def test_times_outside_the_calendar_are_refused() -> None:
    calendar = calendar_named("XNYS")
    with pytest.raises(Refused, match="outside_calendar"):
        calendar.session_index(np.array(["1970-01-01"], "datetime64[us]"))
    with pytest.raises(Refused, match="outside_calendar"):
        calendar.session_close(utc("2051-06-01"))
    for timeframe in ("1d", "5m", "1w"):
        with pytest.raises(Refused, match="outside_calendar"):
            calendar.next_close(utc("2051-06-01"), timeframe)
    with pytest.raises(Refused, match="outside_calendar"):
        calendar.crosses_close(utc("2051-06-01"), "5m", 1)


def test_days_and_weeks_are_not_intraday() -> None:
    assert [is_intraday(timeframe) for timeframe in ("30s", "5m", "4h", "1d", "1w")] == [True, True, True, False, False]
    assert bar_length("90m").total_seconds() == 5400
