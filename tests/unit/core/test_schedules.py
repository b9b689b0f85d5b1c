from datetime import datetime

from orchestrator.core.calendar import calendar_named
from orchestrator.core.schedules import is_quiet, last_time, next_time
from schemas.policies import Hours

XNYS = calendar_named()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_quiet_hours_go_over_midnight_and_by_the_clock_of_the_exchange() -> None:
    night = (Hours(start="22:00", end="06:00"),)
    for clock, expected in {"03:00": True, "02:59": False, "10:59": True, "11:00": False}.items():
        assert is_quiet(night, XNYS, at(f"2026-11-23T{clock}:00+00:00")) == expected
    # In summer, its clock is an hour further on.
    assert is_quiet(night, XNYS, at("2026-07-23T02:00:00+00:00"))
    assert not is_quiet(night, XNYS, at("2026-07-23T10:00:00+00:00"))


def test_a_schedule_goes_by_the_clock_of_the_exchange_and_its_sessions() -> None:
    noon = "0 12 * * *"
    # Thanksgiving is on the 26th; the clock was set back on November 1.
    assert next_time(noon, XNYS, at("2026-11-25T17:00:00+00:00")) == at("2026-11-27T17:00:00+00:00")
    assert next_time(noon, XNYS, at("2026-10-30T16:00:00+00:00")) == at("2026-11-02T17:00:00+00:00")
    after = at("2026-11-20T00:00:00+00:00")
    assert last_time(noon, XNYS, after, at("2026-11-23T16:59:59+00:00")) == at("2026-11-20T17:00:00+00:00")
    assert last_time(noon, XNYS, after, at("2026-11-23T17:00:00+00:00")) == at("2026-11-23T17:00:00+00:00")
    assert last_time(noon, XNYS, at("2026-11-20T17:00:00+00:00"), at("2026-11-23T16:00:00+00:00")) is None


def test_a_session_that_closes_at_midnight_is_of_the_day_that_ends() -> None:
    always = calendar_named("24/7")
    assert next_time("0 0 * * 6", always, at("2026-11-23T00:00:00+00:00")) == at("2026-11-28T00:00:00+00:00")
