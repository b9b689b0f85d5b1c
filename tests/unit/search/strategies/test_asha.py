import pytest

from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.asha import Asha, rungs
from orchestrator.search.strategies.base import Proposal
from orchestrator.search.strategies.searchers import RandomSearcher
from schemas.search import IntegerRange
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play, smooth


def asha(most: int = 9, budgets: tuple[int, ...] = (11, 33, 100), space: Space = SPACE) -> Asha:
    return Asha(RandomSearcher(space, (42,)), most, budgets=budgets)


def by_number(proposal: Proposal) -> Told:
    return Told(proposal, float(proposal.number))


def test_rungs_descend_from_the_full_budget_to_the_grace_period() -> None:
    assert rungs(100, 10) == (11, 33, 100)
    assert rungs(100, 11) == (11, 33, 100)
    assert rungs(100, 12) == (33, 100)
    assert rungs(81, 1) == (1, 3, 9, 27, 81)
    assert rungs(5, 0) == (1, 5)
    assert rungs(5, 10) == (5,)


def test_nine_trials_one_at_a_time_the_best_first() -> None:
    strategy = asha()
    played = play(strategy, lambda proposal: Told(proposal, -float(proposal.number)), slots=1)
    assert [(each.number, each.budget) for each in played.asked] == [
        *((0, 11), (1, 11), (2, 11), (0, 33)),
        *((3, 11), (4, 11), (5, 11), (1, 33)),
        *((6, 11), (7, 11), (8, 11), (2, 33), (0, 100)),
    ]
    assert [each.number for each in played.asked if each.last] == [0]
    assert played.given_up == [1, 2, 3, 4, 5, 6, 7, 8]
    assert strategy.finished


def test_the_highest_rung_goes_first() -> None:
    strategy = asha()
    for proposal in strategy.ask(9):
        strategy.tell(proposal, float(proposal.number))
    second = strategy.ask(9)
    assert [(each.number, each.budget, each.step, each.last) for each in second] == [
        (8, 33, 2, False),
        (7, 33, 2, False),
        (6, 33, 2, False),
    ]
    assert strategy.ask(9) == []
    assert not strategy.finished
    for proposal in second:
        strategy.tell(proposal, -float(proposal.number))
    (third,) = strategy.ask(9)
    assert (third.number, third.budget, third.step, third.last) == (6, 100, 3, True)
    assert strategy.given_up() == []
    strategy.tell(third, 0.0)
    assert strategy.finished
    assert strategy.given_up() == [0, 1, 2, 3, 4, 5, 7, 8]


def test_too_few_trials_still_bring_the_best_one_to_the_full_budget() -> None:
    played = play(asha(2), by_number)
    assert [(each.number, each.budget) for each in played.asked] == [(0, 11), (1, 11), (1, 33), (1, 100)]
    assert played.given_up == [0]


def test_another_goes_on_when_the_best_one_dies_on_the_way() -> None:
    played = play(
        asha(3), lambda proposal: Told(proposal, float(proposal.number), (proposal.number, proposal.step) == (2, 2))
    )
    reached = [(each.number, each.budget) for each in played.asked][3:]
    assert reached == [(2, 33), (1, 33), (1, 100)]
    assert played.given_up == [0]


def test_the_dead_count_in_their_rung_and_are_never_promoted() -> None:
    strategy = asha(4, (1, 3))
    for proposal in strategy.ask(3):
        strategy.tell(proposal, 9.0 if proposal.number else 1.0, failed=proposal.number > 0)
    assert [(each.number, each.budget) for each in strategy.ask(9)] == [(0, 3), (3, 1)]


@pytest.mark.parametrize("failed", [True, False])
def test_it_ends_when_there_is_no_score_at_all(failed: bool) -> None:
    played = play(asha(), lambda proposal: Told(proposal, None, failed))
    assert len(played.told) == 9
    assert played.given_up == ([] if failed else list(range(9)))


def test_one_rung_is_a_search_with_the_full_budget() -> None:
    played = play(asha(5, (100,)), by_number)
    assert [(each.budget, each.last) for each in played.asked] == [(100, True)] * 5
    assert played.given_up == []


def test_it_ends_early_when_the_space_is_exhausted() -> None:
    strategy = asha(50, space={"a": IntegerRange(kind="integer", low=1, high=4)})
    played = play(strategy, by_number)
    assert strategy.most == len({each.number for each in played.asked}) == 4
    assert strategy.finished


def test_later_steps_carry_the_configuration_that_was_run() -> None:
    strategy = asha(3)
    ran: Configuration = {"alpha": 1.0, "depth": 5, "booster": "dart", "ratio": 0.5}
    for proposal in strategy.ask(3):
        strategy.tell(Proposal(proposal.number, ran, proposal.budget), 1.0)
    assert [(each.number, each.configuration) for each in strategy.ask(3)] == [(0, ran)]


@pytest.mark.parametrize("crash_after", [1, 10, 25, 35])
def test_a_replay_ends_as_a_search_without_a_crash(crash_after: int) -> None:
    before = play(asha(27), order=1, crash_after=crash_after)
    after = play(asha(27), order=2, known=by_key(before))
    known = by_key(before)
    assert all(each == known.get(key, each) for key, each in by_key(after).items())
    reached = {each.proposal.number for each in after.told if each.proposal.last}
    assert reached
    assert reached.isdisjoint(after.given_up)
    assert reached | set(after.given_up) == set(range(27))


def test_halving_finds_as_good_a_trial_for_less() -> None:
    whole, halved = 0, 0
    for seed in range(5):
        played = play(Asha(RandomSearcher(SPACE, (seed,)), 81, budgets=(11, 33, 100)), smooth)
        everything = play(Asha(RandomSearcher(SPACE, (seed,)), 81, budgets=(100,)), smooth)
        assert played.best == everything.best
        steps = {(each.proposal.number, each.proposal.step): each.proposal.budget or 0 for each in played.told}
        halved += sum(budget - steps.get((number, step - 1), 0) for (number, step), budget in steps.items())
        whole += 100 * len(everything.told)
    assert halved < whole / 2
