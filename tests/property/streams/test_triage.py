from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Mode
from schemas.ticks import FeatureTick
from streams.memory import Answered
from streams.triage import AHEAD_LIMIT, TickRules, Triage, before, fault_of_clock, triage
from tests.unit.streams.fakes import NOW, bar, tick

RULES = TickRules(ttl=timedelta(seconds=60))
# Few bars and revisions, and ages on both sides of the limit: so that they meet.
hours, revisions = st.integers(0, 3), st.integers(0, 2)
ages = st.sampled_from([-1, 0, 59, 60]).map(lambda seconds: timedelta(seconds=seconds)) | st.just(
    timedelta(seconds=60, microseconds=1)
)
modes: st.SearchStrategy[Mode] = st.sampled_from(["live", "replay", "shadow", "paper"])
ticks = st.builds(lambda hour, **fields: tick(hour, **fields), hours, revision=revisions, age=ages, mode=modes)
answered = st.builds(lambda hour, revision: Answered(bar(hour), revision, "", 0, 0), hours, revisions)


def verdict(on: FeatureTick, newest: Answered | None) -> Triage:
    return triage(on, newest, now=NOW, rules=RULES)


@given(ticks, answered)
def test_what_was_answered_or_is_older_than_that_is_never_fresh(on: FeatureTick, newest: Answered) -> None:
    this, answered_before = (on.event_time, on.revision), newest.bar
    found = verdict(on, newest)
    assert (found is Triage.REPEAT) == (this == answered_before)
    assert (found is Triage.LATE) == (this < answered_before and on.mode != "replay")


@given(ticks, answered)
def test_a_replay_that_goes_back_begins_anew(on: FeatureTick, newest: Answered) -> None:
    again = on.model_copy(update={"mode": "replay"})
    if (on.event_time, on.revision) < newest.bar:
        assert before(again, newest) is None
        assert verdict(again, newest) is Triage.FRESH
    else:
        assert before(again, newest) is newest


@given(ticks, st.none() | answered)
def test_only_a_live_tick_expires_and_only_past_its_time_to_live(on: FeatureTick, newest: Answered | None) -> None:
    found = verdict(on, newest)
    if found is Triage.EXPIRED:
        assert on.mode == "live"
        assert NOW - on.available_at > RULES.ttl
    if on.mode == "live" and NOW - on.available_at > RULES.ttl:
        assert found is not Triage.FRESH


@given(ticks)
def test_where_nothing_was_answered_a_tick_is_fresh_unless_it_has_expired(on: FeatureTick) -> None:
    assert verdict(on, None) in (Triage.FRESH, Triage.EXPIRED)
    assert verdict(on.model_copy(update={"mode": "replay"}), None) is Triage.FRESH


@given(st.lists(ticks, max_size=20))
def test_of_any_stream_each_bar_and_revision_is_fresh_at_most_once(stream: list[FeatureTick]) -> None:
    newest: Answered | None = None
    fresh = []
    for each in (one for one in stream if one.mode != "replay"):
        if verdict(each, newest) is Triage.FRESH:
            newest = Answered(each.event_time, each.revision, "", 0, 0)
            fresh.append(newest.bar)
    assert fresh == sorted(set(fresh))


@given(st.integers(-10, 10), modes)
def test_only_a_live_bar_that_closes_ahead_of_the_clock_is_a_fault(seconds: int, mode: Mode) -> None:
    ahead = timedelta(seconds=seconds)
    fault = fault_of_clock(tick(mode=mode, event_time=NOW + ahead), NOW)
    assert (fault is not None) == (mode == "live" and ahead > AHEAD_LIMIT)
