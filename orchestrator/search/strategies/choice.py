"""Which strategy a search asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.algorithms.base import Budget
from orchestrator.core.canonical import FLOAT_DIGITS
from orchestrator.core.space import Configuration, Space, size
from orchestrator.search.strategies.asha import Asha, rungs
from orchestrator.search.strategies.base import Seed, Strategy
from orchestrator.search.strategies.listed import Listed, drawn
from orchestrator.search.strategies.pbt import Pbt, budgets
from orchestrator.search.strategies.searchers import RandomSearcher, Searcher
from orchestrator.search.strategies.sequential import Sequential
from schemas.search import StrategyName

SearchAlgorithm = Literal["random", "optuna", "bayesopt"]


@dataclass(frozen=True)
class SearchPlan:
    """What one population is searched with; each strategy looks only at what concerns it."""

    strategy: StrategyName
    budget: Budget
    """Of the family."""
    seed: Seed
    configurations: Sequence[Configuration] = ()
    """Of a grid, in order."""
    space: Space = field(default_factory=dict)
    """Of the other strategies; without faults."""
    population: int = 20
    generations: int = 10
    num_samples: int = 50
    """Trials of random, asha and bayesian, where the space has as many configurations."""
    search_alg: SearchAlgorithm | None = None
    """Who proposes in asha and bayesian. None: random in the former, bayesopt in the latter."""
    grace: int = 10
    """The least budget after which asha gives a trial up, in the family's unit."""
    digits: int = FLOAT_DIGITS
    """Significant digits to which configurations are told apart."""


def strategy_for(plan: SearchPlan) -> Strategy:
    """The strategy of one population, from the beginning."""
    match plan.strategy:
        case "grid":
            return Listed(plan.configurations)
        case "random":
            return Listed(drawn(plan.space, plan.num_samples, plan.seed, plan.digits))
        case "pbt" | "multi_ticker_pbt":
            return Pbt(
                plan.space,
                population=plan.population,
                budgets=_budgets(plan.budget, plan.generations),
                seed=plan.seed,
                digits=plan.digits,
            )
    count = size(plan.space, plan.digits)
    most = plan.num_samples if count is None else min(plan.num_samples, count)
    initial = min(2 * (len(plan.space) + 1), -(-most // 3))
    if plan.strategy == "asha":
        searcher = _searcher(plan, plan.search_alg or "random", initial)
        return Asha(searcher, most, budgets=rungs(plan.budget.full, plan.grace))
    return Sequential(_searcher(plan, plan.search_alg or "bayesopt", initial), most, initial=initial)


def _budgets(budget: Budget, generations: int) -> Sequence[int | None]:
    return budgets(budget.full, generations) if budget.accumulates else (None,) * generations


def _searcher(plan: SearchPlan, search_alg: SearchAlgorithm, initial: int) -> Searcher:
    """Optuna and bayesian-optimization are imported by those who use them: either takes a second."""
    match search_alg:
        case "random":
            return RandomSearcher(plan.space, plan.seed, plan.digits)
        case "optuna":
            from orchestrator.search.strategies.tpe import OptunaSearcher

            return OptunaSearcher(plan.space, plan.seed, initial=initial, digits=plan.digits)
        case "bayesopt":
            from orchestrator.search.strategies.gaussian import GaussianSearcher

            return GaussianSearcher(plan.space, plan.seed, initial=initial, digits=plan.digits)
