import pytest

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import Space, contains
from orchestrator.search.strategies.base import Proposal
from orchestrator.search.strategies.listed import Listed, drawn
from schemas.search import IntegerRange
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play


def test_a_list_is_proposed_at_once_in_its_order() -> None:
    strategy = Listed([{"a": 1}, {"a": 2}, {"a": 3}])
    assert strategy.most == 3
    assert strategy.ask(2) == (Proposal(0, {"a": 1}, None), Proposal(1, {"a": 2}, None))
    assert strategy.ask(5) == (Proposal(2, {"a": 3}, None),)
    assert strategy.ask(5) == ()
    for number in (2, 0, 1):
        assert not strategy.finished
        strategy.tell(Proposal(number, {}, None), None, failed=True)
    assert strategy.finished
    assert strategy.given_up() == ()


def test_nothing_to_propose_is_finished() -> None:
    assert Listed([]).finished


def test_a_trial_that_does_not_run_cannot_be_over() -> None:
    strategy = Listed([{"a": 1}])
    with pytest.raises(KeyError):
        strategy.tell(Proposal(0, {"a": 1}, None), 1.0)


def test_a_larger_draw_begins_with_the_smaller_one() -> None:
    few, many = drawn(SPACE, 10, (42, 1)), drawn(SPACE, 40, (42, 1))
    assert many[:10] == few
    assert all(contains(SPACE, each) for each in many)
    assert len({canonical_json(each) for each in many}) == 40
    assert drawn(SPACE, 10, (42, 2)) != few


def test_a_small_space_is_drawn_whole() -> None:
    space: Space = {"a": IntegerRange(kind="integer", low=1, high=7)}
    assert sorted(int(each["a"]) for each in drawn(space, 100, (1,))) == [1, 2, 3, 4, 5, 6, 7]


def test_a_replay_proposes_the_same_trials_again() -> None:
    configurations = drawn(SPACE, 12, (3,))
    before = play(Listed(configurations), crash_after=5)
    after = play(Listed(configurations), known=by_key(before))
    assert len(after.told) == 12
    assert by_key(after) == by_key(play(Listed(configurations), order=9))


def test_failures_end_like_others() -> None:
    played = play(Listed(drawn(SPACE, 6, (3,))), lambda proposal: Told(proposal, None, failed=proposal.number == 2))
    assert len(played.told) == 6
