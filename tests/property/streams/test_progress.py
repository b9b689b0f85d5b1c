"""Whether a worker moves."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.progress import SILENCE, STANDSTILL, Progress

START = datetime(2026, 1, 15, 21, tzinfo=UTC)
EARLIEST, LATEST = START.replace(year=1970, tzinfo=None), START.replace(year=2100, tzinfo=None)
SECOND = timedelta(seconds=1)
counts = st.integers(0, 10**12)


@given(counts, counts)
def test_a_worker_that_has_just_spoken_is_not_stuck(position: int, lag: int) -> None:
    assert Progress.first(position, lag, START).fault(START) is None


@given(counts, counts)
def test_silence_is_a_fault(position: int, lag: int) -> None:
    assert Progress.first(position, lag, START).fault(START + SILENCE + SECOND) is not None


@given(counts, st.integers(1, 10**6), st.integers(1, 100))
def test_standing_still_is_a_fault_only_while_there_is_lag(position: int, lag: int, words: int) -> None:
    stuck = idle = Progress.first(position, 0, START)
    now = START
    for _ in range(words):
        now += STANDSTILL + SECOND
        stuck, idle = stuck.then(position, lag, now), idle.then(position, 0, now)
    assert stuck.fault(now) is not None
    assert idle.fault(now) is None


@given(counts, st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 10**6)), min_size=1))
def test_a_worker_that_advances_is_never_stuck_however_far_behind_it_is(
    position: int, steps: list[tuple[int, int]]
) -> None:
    progress, now = Progress.first(position, 1, START), START
    for step, lag in steps:
        now += STANDSTILL + SECOND
        progress = progress.then(progress.position + step, lag, now)
        assert progress.fault(now) is None


@given(counts, counts, st.datetimes(timezones=st.just(UTC), min_value=EARLIEST, max_value=LATEST))
def test_a_record_of_it_reads_back_the_same(position: int, lag: int, now: datetime) -> None:
    progress = Progress.first(position, lag, now)
    assert Progress.from_json(progress.to_json()) == progress
