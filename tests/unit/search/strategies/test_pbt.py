import math

import pytest

from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.base import Proposal
from orchestrator.search.strategies.pbt import Pbt, budgets
from schemas.search import IntegerRange
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play, smooth


def pbt(population: int = 8, generations: int = 3, full: int = 30, seed: int = 42) -> Pbt:
    return Pbt(SPACE, population=population, budgets=budgets(full, generations), seed=(seed,))


def test_budgets_grow_by_equal_parts_to_the_full_one() -> None:
    assert budgets(100, 4) == (25, 50, 75, 100)
    assert budgets(10, 4) == (2, 5, 7, 10)
    assert budgets(2, 4) == (1, 2, 3, 4)
    assert budgets(7, 1) == (7,)


def test_the_worst_quarter_is_replaced_by_clones_of_the_best() -> None:
    strategy = pbt()
    assert strategy.most == 12
    founders = strategy.ask(100)
    assert [(each.number, each.budget, each.step, each.last) for each in founders] == [
        (number, 10, 1, False) for number in range(8)
    ]
    assert strategy.ask(100) == []
    for proposal, score in zip(founders, [0.1, 0.9, 0.5, -0.2, 0.8, 0.3, 0.4, 0.6], strict=True):
        strategy.tell(proposal, score)
    assert strategy.given_up() == [0, 3]
    assert strategy.given_up() == []
    second = strategy.ask(100)
    assert [(each.number, each.budget, each.step, each.parent) for each in second] == [
        (8, 20, 1, 1),
        (9, 20, 1, 4),
        *((number, 20, 2, None) for number in (1, 2, 4, 5, 6, 7)),
    ]
    assert second[0].configuration != founders[1].configuration
    assert second[2].configuration == founders[1].configuration
    assert not strategy.finished


def test_the_generation_after_the_last_does_not_come() -> None:
    played = play(pbt())
    assert [each.budget for each in played.asked] == [10] * 8 + [20] * 8 + [30] * 8
    assert [each.last for each in played.asked] == [False] * 16 + [True] * 8
    assert len({each.number for each in played.asked}) == pbt().most == 12
    assert len(played.given_up) == 4


def test_a_clone_that_goes_on_keeps_its_parent() -> None:
    clones = [each for each in play(pbt()).asked if each.number in (8, 9) and each.step == 2]
    assert clones
    assert all(each.parent is not None and each.parent < 8 for each in clones)


def test_the_quarter_is_at_least_one_of_two() -> None:
    assert [pbt(population, 2).most for population in (2, 3, 7, 8, 20)] == [3, 4, 8, 10, 25]


def test_a_space_of_one_configuration_has_a_population_of_one() -> None:
    space: Space = {"a": IntegerRange(kind="integer", low=4, high=4)}
    strategy = Pbt(space, population=8, budgets=(None, None), seed=(1,))
    assert strategy.most == 1
    assert [each.step for each in play(strategy, lambda proposal: Told(proposal, 1.0)).asked] == [1, 2]


def test_scores_that_are_no_numbers_rank_last_and_ties_by_number() -> None:
    strategy = pbt()
    scores = [math.nan, 1.0, 1.0, math.inf, 1.0, None, 1.0, 1.0]
    for proposal, score in zip(strategy.ask(8), scores, strict=True):
        strategy.tell(proposal, score)
    assert strategy.given_up() == [3, 5]
    assert [each.parent for each in strategy.ask(2)] == [1, 2]


def test_the_dead_are_replaced_first_and_not_given_up() -> None:
    strategy = pbt()
    for proposal in strategy.ask(8):
        strategy.tell(proposal, float(proposal.number), failed=proposal.number == 7)
    assert strategy.given_up() == [0]
    assert [(each.number, each.parent) for each in strategy.ask(8)] == [
        *((8, 6), (9, 5)),
        *((number, None) for number in (1, 2, 3, 4, 5, 6)),
    ]


def test_a_population_that_lost_more_than_a_quarter_is_filled_again_by_quarters() -> None:
    strategy = pbt(8, 5)
    for proposal in strategy.ask(8):
        strategy.tell(proposal, float(proposal.number), failed=proposal.number != 5)
    alive = []
    for _ in range(4):
        proposals = strategy.ask(8)
        alive.append(len(proposals))
        for proposal in proposals:
            strategy.tell(proposal, float(proposal.number))
    assert alive == [3, 5, 7, 8]
    assert strategy.given_up() == [5]
    assert strategy.finished
    assert strategy.most == 16


def test_it_ends_when_nobody_is_alive() -> None:
    strategy = pbt()
    played = play(strategy, lambda proposal: Told(proposal, 1.0, failed=proposal.step == 2 or proposal.number > 7))
    assert strategy.finished
    assert len(played.told) == 16
    assert strategy.most == 10


def test_it_goes_on_without_any_score() -> None:
    assert len(play(pbt(), lambda proposal: Told(proposal, None)).told) == 24


def test_a_family_that_does_not_accumulate_trains_in_full_each_time() -> None:
    strategy = Pbt(SPACE, population=4, budgets=(None, None), seed=(42,))
    played = play(strategy)
    assert {each.budget for each in played.asked} == {None}
    assert [each.parent is None for each in played.asked] == [True] * 4 + [False] + [True] * 3


def test_what_was_run_counts_when_it_is_not_what_was_proposed() -> None:
    strategy = pbt(2, 3)
    ran: Configuration = {"alpha": 1.0, "depth": 5, "booster": "dart", "ratio": 0.5}
    for proposal in strategy.ask(2):
        strategy.tell(Proposal(proposal.number, ran, proposal.budget), float(proposal.number))
    assert strategy.ask(2)[1].configuration == ran


@pytest.mark.parametrize("crash_after", [3, 8, 13, 23])
def test_a_replay_goes_on_where_the_crash_was(crash_after: int) -> None:
    whole = play(pbt())
    before = play(pbt(), order=1, crash_after=crash_after)
    after = play(pbt(), order=2, known=by_key(before))
    assert by_key(after) == by_key(whole)


def test_generations_improve_on_random_draws() -> None:
    first, last = [], []
    for seed in range(10):
        told = play(pbt(20, 10, seed=seed), lambda proposal: Told(proposal, smooth(proposal).score)).told
        scores = [each.score for each in told if each.score is not None]
        first.append(max(scores[:20]))
        last.append(max(scores[-20:]))
    assert sorted(last)[5] > sorted(first)[5] / 2
