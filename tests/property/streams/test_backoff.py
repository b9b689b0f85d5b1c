"""When a child is started again."""

from hypothesis import given
from hypothesis import strategies as st

from streams.backoff import Backoff

backoffs = st.builds(
    Backoff,
    first=st.floats(0.001, 10),
    longest=st.floats(10, 1000),
    failures=st.integers(0, 50),
    within=st.floats(1, 10_000),
)
times = st.lists(st.floats(0, 100_000), max_size=80).map(sorted)


@given(backoffs, times)
def test_it_waits_between_the_first_and_the_longest_time_or_gives_up(backoff: Backoff, failed_at: list[float]) -> None:
    wait = backoff.wait(failed_at, 100_000)
    assert wait is None or backoff.first <= wait <= backoff.longest


@given(backoffs, times, st.floats(0, 100_000))
def test_one_more_failure_never_shortens_the_wait(backoff: Backoff, failed_at: list[float], now: float) -> None:
    before = backoff.wait(failed_at, now)
    after = backoff.wait([*failed_at, now], now)
    assert after is None or (before is not None and after >= before)


@given(backoffs)
def test_it_gives_up_at_the_first_failure_too_many(backoff: Backoff) -> None:
    assert backoff.wait([0.0] * backoff.failures, 0) is not None
    assert backoff.wait([0.0] * (backoff.failures + 1), 0) is None


@given(backoffs, st.integers(0, 1000))
def test_failures_long_ago_are_forgotten(backoff: Backoff, count: int) -> None:
    assert backoff.wait([0.0] * count, backoff.within + 1) == backoff.first
