"""Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), asked and told in memory."""

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json
from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.base import Seed
from orchestrator.search.strategies.coordinates import decoded, encoded, is_continuous
from orchestrator.search.strategies.searchers import RandomSearcher
from schemas.search import Choice, Dimension, IntegerRange

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaSearcher:
    """Draws `initial` configurations, then has the estimator suggest; what is running counts as bad meanwhile."""

    def __init__(self, space: Space, seed: Seed, *, initial: int, digits: int = FLOAT_DIGITS) -> None:
        self._space = space
        self._digits = digits
        self._initial = initial
        self._random = RandomSearcher(space, seed, digits)
        self._distributions = {name: _distribution(space[name]) for name in sorted(space)}
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),
            n_startup_trials=initial,
            multivariate=True,
            constant_liar=True,
        )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._observed = 0
        self._running: dict[int, tuple[Trial, Configuration]] = {}

    def propose(self, number: int) -> Configuration | None:
        configuration: Configuration | None
        if self._observed < self._initial:
            configuration = self._random.propose(number)
        else:
            trial = self._study.ask(self._distributions)
            suggested = decoded(self._space, trial.params)
            configuration = self._random.settle(number, suggested)
            if configuration is suggested:
                self._running[number] = trial, suggested
                return suggested
            self._study.tell(trial, state=TrialState.FAIL)
        if configuration is not None:
            self._running[number] = self._begin(configuration), configuration
        return configuration

    def observe(self, number: int, configuration: Configuration, score: float | None) -> None:
        trial, proposed = self._running.pop(number)
        if canonical_json(proposed, self._digits) != canonical_json(configuration, self._digits):
            self._study.tell(trial, state=TrialState.FAIL)
            trial = self._begin(configuration)
        self._random.observe(number, configuration, score)
        self._observed += 1
        if score is None:
            # A pruned trial without a value ranks below every one that has a value.
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, score)

    def _begin(self, configuration: Configuration) -> Trial:
        """A running trial of a configuration that the estimator did not suggest."""
        self._study.enqueue_trial(encoded(self._space, configuration))
        return self._study.ask(self._distributions)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))
    if isinstance(dimension, IntegerRange) and not is_continuous(dimension):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(0.0, 1.0)
