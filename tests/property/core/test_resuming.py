"""Which broken-off experiments may be gone on with, and which of their trials run again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.lifecycle import RESUMABLE, State, allowed
from orchestrator.core.resuming import Resuming, refusal, run_again

START = datetime(2026, 1, 15, tzinfo=UTC)
moments = st.integers(0, 20).map(lambda minutes: START + timedelta(minutes=minutes))


@dataclass(frozen=True)
class Trial:
    trial: str
    tickers: tuple[str, ...]
    parent: str | None
    created_at: datetime
    finished_at: datetime | None


trials = st.lists(
    st.builds(
        Trial,
        trial=st.uuids().map(str),
        tickers=st.sampled_from([("AAA",), ("BBB",)]),
        parent=st.none() | st.just("parent"),
        created_at=moments,
        finished_at=moments,
    ),
    max_size=12,
)


@given(st.sampled_from(State), st.booleans(), st.builds(Resuming, st.booleans(), st.booleans()))
def test_only_what_was_broken_off_and_is_not_judged_goes_on(state: State, judged: bool, resuming: Resuming) -> None:
    refused = refusal("mine", state, judged=judged, resuming=resuming)
    assert (refused is None) == (state in RESUMABLE and not judged and resuming.unfinished)
    if refused is None:
        assert State.ACCEPTED in allowed(state)
    else:
        assert "mine" in refused.message or "TUNE_RESUME_UNFINISHED" in refused.message


@given(trials)
def test_what_failed_runs_again_unless_its_population_has_bred_since(known: list[Trial]) -> None:
    again = set(run_again(known, known))
    for each in known:
        assert each.finished_at is not None
        bred = any(
            other.parent is not None and other.tickers == each.tickers and other.created_at >= each.finished_at
            for other in known
        )
        assert (each.trial in again) == (not bred)


@given(trials)
def test_where_nothing_is_bred_everything_that_failed_runs_again(known: list[Trial]) -> None:
    listed = [Trial(each.trial, each.tickers, None, each.created_at, each.finished_at) for each in known]
    assert run_again(listed, listed) == [each.trial for each in listed]
