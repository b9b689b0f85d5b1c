import pickle

import pytest

from orchestrator.core.lifecycle import LINE, IllegalTransition, State, advance, is_final


def test_an_experiment_walks_the_whole_line() -> None:
    state = State.ACCEPTED
    for following in LINE[1:]:
        state = advance(state, following)
    assert state is State.DEPLOYED


def test_an_illegal_step_says_what_may_follow() -> None:
    with pytest.raises(
        IllegalTransition, match=r"accepted cannot become running.*cancelled, failed, waiting"
    ) as caught:
        advance(State.ACCEPTED, State.RUNNING)
    assert (caught.value.state, caught.value.wanted) == (State.ACCEPTED, State.RUNNING)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_selection_is_the_end_where_nothing_is_to_be_deployed() -> None:
    assert is_final(State.SELECTED, deploys=False)
    assert not is_final(State.SELECTED, deploys=True)
    assert all(is_final(state, deploys=True) for state in (State.DEPLOYED, State.REFUSED, State.FAILED))
    assert not is_final(State.RUNNING, deploys=False)


def test_a_deployment_under_way_is_not_cancelled() -> None:
    with pytest.raises(IllegalTransition):
        advance(State.DEPLOYING, State.CANCELLED)
