"""Times by the clock of a calendar's exchange: quiet hours, and what a schedule names."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from orchestrator.core.calendar import Calendar
from schemas.policies import Hours

MINUTE, YEAR = timedelta(minutes=1), timedelta(days=366)


def is_quiet(quiet: Sequence[Hours], calendar: Calendar, now: datetime) -> bool:
    """Whether a time is in quiet hours, by the clock of the calendar's exchange."""
    return _covers(quiet, f"{now.astimezone(calendar.zone):%H:%M}")


def is_always_quiet(quiet: Sequence[Hours]) -> bool:
    """Whether quiet hours are the whole day."""
    return all(_covers(quiet, f"{minute // 60:02}:{minute % 60:02}") for minute in range(24 * 60))


def last_time(cron: str, calendar: Calendar, after: datetime, now: datetime) -> datetime | None:
    """The last time that a schedule names up to now, on a day with a session; None: there is none after `after`.

    Raises:
        CronSimError: it is no schedule.
    """
    for moment in CronSim(cron, (now + MINUTE).astimezone(calendar.zone), reverse=True):
        if moment <= after:
            return None
        if moment <= now and calendar.has_session(moment.date()):
            return moment.astimezone(UTC)
    return None


def next_time(cron: str, calendar: Calendar, now: datetime) -> datetime | None:
    """The next time that a schedule names, on a day with a session; None: there is none within a year.

    Raises:
        CronSimError: it is no schedule.
    """
    for moment in CronSim(cron, now.astimezone(calendar.zone)):
        if moment > now + YEAR:
            return None
        if calendar.has_session(moment.date()):
            return moment.astimezone(UTC)
    return None


def _covers(quiet: Sequence[Hours], clock: str) -> bool:
    return any(
        each.start <= clock < each.end if each.start < each.end else clock >= each.start or clock < each.end
        for each in quiet
    )
