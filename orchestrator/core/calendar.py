"""Trading calendars: which session a bar belongs to, and when the next bar closes.

Session times come from `exchange_calendars` (its rules, extrapolated past what exchanges have announced); '24/7' is
plain arithmetic. The range is fixed, so that no calendar depends on the day on which it is built.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import Any

import numpy as np

from orchestrator.core.arrays import Integers, Times
from orchestrator.core.errors import Refused
from schemas.base import Reason

FIRST_DAY = "1990-01-01"
LAST_DAY = "2050-12-31"
ALWAYS_OPEN = "24/7"
DEFAULT_CALENDAR = "XNYS"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MICROSECONDS = 1_000_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_DAY = 86_400 * _MICROSECONDS
_MEAN_YEAR = 365.2425 * _DAY


def bar_length(timeframe: str) -> timedelta:
    """The time that one bar of `timeframe` (such as 5m, 1h, 1d, 1w) spans; for days and weeks, calendar time."""
    return timedelta(seconds=int(timeframe[:-1]) * _SECONDS[timeframe[-1]])


def is_intraday(timeframe: str) -> bool:
    """True where a bar is shorter than a day."""
    return bar_length(timeframe) < timedelta(days=1)


@dataclass(frozen=True, eq=False)
class Calendar:
    """The sessions of one exchange, oldest first.

    `opens` and `closes` are (n_sessions,) int64, microseconds since 1970 in UTC; a session opens after the one before
    it closes, or as it does. `zone` is that of the exchange's clock.
    """

    name: str
    opens: Integers
    closes: Integers
    zone: tzinfo = UTC

    @property
    def sessions_per_year(self) -> float:
        """Sessions in a mean year, whole: 252 for XNYS, 365 for 24/7."""
        years = (int(self.closes[-1]) - int(self.opens[0])) / _MEAN_YEAR
        return float(round(len(self.closes) / years))

    def session_index(self, times: Times) -> Integers:
        """The session that each bar close belongs to: the first one that closes at or after it.

        `times` is (n,) datetime64 in UTC, in any order; a bar that closes after hours counts to the next session.

        Raises:
            Refused: a time lies outside the calendar (`outside_calendar`).
        """
        instants = times.astype("datetime64[us]").astype(np.int64)
        if instants.size and (instants.min() < self.opens[0] or instants.max() > self.closes[-1]):
            self._refuse_outside(f"{times.min()} to {times.max()}")
        return np.searchsorted(self.closes, instants, side="left").astype(np.int64)

    def session_closes(self, start: datetime, end: datetime) -> Times:
        """The sessions' closes from `start` to `end`, both included: datetime64[us] in UTC, ascending."""
        first = np.searchsorted(self.closes, _microseconds(start), side="left")
        last = np.searchsorted(self.closes, _microseconds(end), side="right")
        return self.closes[first:last].astype("datetime64[us]")

    def session_close(self, event_time: datetime) -> datetime:
        """When the session closes that a bar belongs to: the first one that closes at or after the bar.

        Raises:
            Refused: no session that is known closes so late (`outside_calendar`).
        """
        session = int(self.closes.searchsorted(_microseconds(event_time)))
        if session >= len(self.closes):
            self._refuse_outside(event_time.isoformat())
        return _instant(int(self.closes[session]))

    def has_session(self, day: date) -> bool:
        """Whether a session closes on a day of the exchange's own; one that closes at midnight is of the day before."""
        midnights = (datetime.combine(each, time(), self.zone) for each in (day, day + timedelta(days=1)))
        after, until = map(_microseconds, midnights)
        place = int(np.searchsorted(self.closes, after, side="right"))
        return place < len(self.closes) and int(self.closes[place]) <= until

    def next_close(self, event_time: datetime, timeframe: str) -> datetime:
        """When the bar after the one that closed at `event_time` closes.

        Bars of days close with sessions, bars of weeks with the last session of their week (Monday to Sunday, UTC).
        An intraday bar ends at its session's close at the latest, and the last of a session is followed by the first
        of the next. Lunch breaks are not known here: a bar may close within one.

        Raises:
            Refused: the bar would close outside the calendar (`outside_calendar`).
        """
        now = _microseconds(event_time)
        length = bar_length(timeframe) // timedelta(microseconds=1)
        if timeframe.endswith("w"):
            return _instant(self._weekly_close(now + length))
        following = int(self.closes.searchsorted(now, side="right"))
        if not is_intraday(timeframe):
            following += length // _DAY - 1
        if now < self.opens[0] or following >= len(self.closes):
            self._refuse_outside(f"the bar after {event_time.isoformat()}")
        close = int(self.closes[following])
        if not is_intraday(timeframe):
            return _instant(close)
        if self.name == ALWAYS_OPEN:
            return _instant(now + length)
        return _instant(min(max(now, int(self.opens[following])) + length, close))

    def crosses_close(self, event_time: datetime, timeframe: str, bars: int) -> bool:
        """True where `bars` bars after the one that closed at `event_time` end past the close of its session.

        Raises:
            Refused: the time lies outside the calendar (`outside_calendar`).
        """
        now = _microseconds(event_time)
        session = int(np.searchsorted(self.closes, now, side="left"))
        if now < self.opens[0] or session >= len(self.closes):
            self._refuse_outside(event_time.isoformat())
        return now + bars * (bar_length(timeframe) // timedelta(microseconds=1)) > int(self.closes[session])

    def _weekly_close(self, moment: int) -> int:
        # A close at midnight belongs to the day that ends. Day 0 was a Thursday: (day + 3) % 7 is 0 on Mondays.
        day = (moment - 1) // _DAY
        week_end = (day - (day + 3) % 7 + 7) * _DAY
        last = int(np.searchsorted(self.closes, week_end, side="right")) - 1
        if last < 0 or week_end > self.closes[-1]:
            self._refuse_outside("a week's close")
        return int(self.closes[last])

    def _refuse_outside(self, what: str) -> None:
        first, last = _instant(int(self.opens[0])), _instant(int(self.closes[-1]))
        message = f"{what} is outside the calendar, which knows {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        raise Refused((Reason(code="outside_calendar", where=self.name, message=message),))


@cache
def calendar_named(name: str = DEFAULT_CALENDAR) -> Calendar:
    """The calendar of an exchange by its code (XNYS, XLON, ...), or '24/7'; built once, 0.2 s for XNYS.

    Raises:
        Refused: there is no such calendar (`unknown_calendar`).
    """
    if name == ALWAYS_OPEN:
        first_day, last_day = (int(np.datetime64(day, "us").astype(np.int64)) for day in (FIRST_DAY, LAST_DAY))
        midnights = np.arange(first_day, last_day + _DAY, _DAY, dtype=np.int64)
        return Calendar(name, midnights, midnights + _DAY)
    with warnings.catch_warnings():
        # exchange_calendars 4.13 reads its own tables in a way that pandas 3.1 deprecates.
        warnings.filterwarnings("ignore", "Series.values", DeprecationWarning)
        return _of_exchange(name)


def _of_exchange(name: str) -> Calendar:
    # Half a second of imports, which only those who need an exchange pay.
    import exchange_calendars

    try:
        sample: Any = exchange_calendars.get_calendar(name, start="2022-01-03", end="2022-02-01")
    except exchange_calendars.errors.InvalidCalendarName as error:
        message = f"there is no calendar {name!r}; use an exchange's code such as XNYS, or {ALWAYS_OPEN}"
        raise Refused((Reason(code="unknown_calendar", where="calendar", message=message),)) from error
    first, last = sample.bound_min(), sample.bound_max()
    start = FIRST_DAY if first is None else max(FIRST_DAY, f"{first:%Y-%m-%d}")
    end = LAST_DAY if last is None else min(LAST_DAY, f"{last:%Y-%m-%d}")
    sessions = exchange_calendars.get_calendar(name, start=start, end=end)
    opens, closes = (
        bounds.to_numpy(dtype="datetime64[us]").astype(np.int64) for bounds in (sessions.opens, sessions.closes)
    )
    return Calendar(name, opens, closes, sessions.tz)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
