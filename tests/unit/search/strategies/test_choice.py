import subprocess
import sys

import pytest

from orchestrator.algorithms.base import Budget
from orchestrator.core.space import Space
from orchestrator.search.strategies.choice import SearchAlgorithm, SearchPlan, strategy_for
from schemas.search import IntegerRange, StrategyName
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play

ROUNDS = Budget(unit="rounds", full=90, accumulates=True)
ROWS = Budget(unit="percent_of_rows", full=100, accumulates=False)


def plan(
    strategy: StrategyName, *, budget: Budget = ROUNDS, search_alg: SearchAlgorithm | None = None, space: Space = SPACE
) -> SearchPlan:
    return SearchPlan(
        strategy=strategy,
        budget=budget,
        seed=(42, 0),
        configurations=[{"a": 1}, {"a": 2}],
        space=space,
        population=8,
        generations=3,
        num_samples=14,
        search_alg=search_alg,
    )


@pytest.mark.parametrize(
    ("strategy", "trials", "budgets"),
    [
        ("grid", 2, {None}),
        ("random", 14, {None}),
        ("pbt", 12, {30, 60, 90}),
        ("multi_ticker_pbt", 12, {30, 60, 90}),
        ("asha", 14, {10, 30, 90}),
        ("bayesian", 14, {None}),
    ],
)
def test_every_strategy_runs_to_its_end(strategy: StrategyName, trials: int, budgets: set[int | None]) -> None:
    built = strategy_for(plan(strategy))
    assert built.most == trials
    played = play(built, lambda proposal: Told(proposal, float(proposal.number)))
    assert len(played.configurations) == trials
    assert {each.budget for each in played.asked} == budgets
    assert built.finished


def test_rows_do_not_accumulate() -> None:
    assert {each.budget for each in play(strategy_for(plan("pbt", budget=ROWS))).asked} == {None}
    assert {each.budget for each in play(strategy_for(plan("asha", budget=ROWS))).asked} == {11, 33, 100}


@pytest.mark.parametrize("strategy", ["asha", "bayesian"])
def test_the_search_algorithm_says_who_proposes(strategy: StrategyName) -> None:
    found = {
        str(play(strategy_for(plan(strategy, search_alg=search_alg)), slots=1).configurations)
        for search_alg in ("random", "optuna", "bayesopt")
    }
    assert len(found) == 3


@pytest.mark.parametrize("strategy", ["random", "asha", "bayesian"])
def test_there_are_no_more_trials_than_configurations(strategy: StrategyName) -> None:
    space: Space = {"a": IntegerRange(kind="integer", low=1, high=5)}
    built = strategy_for(plan(strategy, space=space))
    assert built.most == 5
    assert len(play(built, lambda proposal: Told(proposal, float(proposal.number))).configurations) == 5


@pytest.mark.parametrize("search_alg", ["optuna", "bayesopt"])
def test_a_search_by_halves_that_learns_survives_a_crash(search_alg: SearchAlgorithm) -> None:
    before = play(strategy_for(plan("asha", search_alg=search_alg)), order=1, crash_after=9)
    known = by_key(before)
    after = play(strategy_for(plan("asha", search_alg=search_alg)), order=2, known=known)
    assert all(each == known.get(key, each) for key, each in by_key(after).items())
    assert len(after.configurations) == 14
    assert any(each.proposal.last for each in after.told)


def test_the_learning_searchers_are_imported_by_those_who_use_them() -> None:
    program = (
        "import sys; import orchestrator.search.strategies.choice; "
        "sys.exit('optuna' in sys.modules or 'bayes_opt' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
