from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.lifecycle import LINE, RESUMABLE, IllegalTransition, State, advance, allowed

ENDS = {State.REFUSED, State.FAILED, State.CANCELLED}


@given(st.lists(st.sampled_from(State), max_size=60))
def test_no_state_of_the_line_is_skipped_or_visited_twice(attempts: list[State]) -> None:
    visited = [State.ACCEPTED]
    for wanted in attempts:
        with suppress(IllegalTransition):
            visited.append(advance(visited[-1], wanted))
        if visited[-1] is State.ACCEPTED:
            visited = [State.ACCEPTED]
    walked = [state for state in visited if state in LINE]
    assert walked == list(LINE[: len(walked)])
    assert all(state in ENDS for state in visited[len(walked) :])
    assert len(visited) - len(walked) <= 1


@given(st.sampled_from(State))
def test_every_state_is_reached_and_every_state_but_the_ends_goes_on(state: State) -> None:
    reached, waiting = {State.ACCEPTED}, [State.ACCEPTED]
    while waiting:
        for following in allowed(waiting.pop()) - reached:
            reached.add(following)
            waiting.append(following)
    assert state in reached
    assert bool(allowed(state)) == (state not in {State.REFUSED, State.DEPLOYED})
    assert (allowed(state) == {State.ACCEPTED}) == (state in RESUMABLE)
