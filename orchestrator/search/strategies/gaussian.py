"""A Gaussian-process surrogate (Snoek et al., 2012), on the library bayesian-optimization."""

import warnings
from typing import Any

import numpy as np
from bayes_opt import BayesianOptimization
from bayes_opt.acquisition import ExpectedImprovement
from bayes_opt.parameter import BayesParameter, CategoricalParameter, FloatParameter
from bayes_opt.target_space import TargetSpace
from sklearn.gaussian_process import GaussianProcessRegressor
from threadpoolctl import threadpool_limits

from orchestrator.core.arrays import Floats
from orchestrator.core.canonical import FLOAT_DIGITS
from orchestrator.core.space import Configuration, Space, corners, positions_of, size, values_at
from orchestrator.search.strategies.base import Seed
from orchestrator.search.strategies.coordinates import decoded, encoded, is_continuous
from orchestrator.search.strategies.searchers import RandomSearcher
from schemas.search import Choice, Dimension, IntegerRange

MOST_CATEGORIES = 32
"""Values of a choice that are told apart without an order; of more, neighbours are taken to be alike."""
NOISE = 1e-2
"""Variance of the scores that no configuration explains, beside a variance of 1."""
MOST_FITTED = 400
"""Observations that are fitted, half of them the newest, the others the best: the time taken grows with their cube."""
RESTARTS = 2
"""Of the fit of the kernel's length."""
CANDIDATES, NEIGHBOURS = 10_000, 1_000
WIDTHS = (0.1, 0.03, 0.01)
"""Around the best candidate, neighbours are tried closer and closer, at these deviations."""


class GaussianSearcher:
    """Draws `initial` configurations, then has expected improvement suggest.

    Whole numbers and choices are compared as what they are rounded to (Garrido-Merchan and Hernandez-Lobato, 2020). A
    trial without a score counts as the worst seen, one that is running as the mean.
    """

    def __init__(self, space: Space, seed: Seed, *, initial: int, digits: int = FLOAT_DIGITS) -> None:
        self._seed = seed
        self._initial = initial
        self._random = RandomSearcher(space, seed, digits)
        self._free = {name: space[name] for name in sorted(space) if size({name: space[name]}, digits) != 1}
        self._fixed = {name: space[name] for name in space if name not in self._free}
        self._running: dict[int, Configuration] = {}
        self._observed: list[tuple[Configuration, float | None]] = []

    def propose(self, number: int) -> Configuration | None:
        scored = sum(score is not None for _, score in self._observed)
        if scored < self._initial or not self._free:
            configuration = self._random.propose(number)
        else:
            configuration = self._random.settle(number, self._suggested(number))
        if configuration is not None:
            self._running[number] = configuration
        return configuration

    def observe(self, number: int, configuration: Configuration, score: float | None) -> None:
        del self._running[number]
        self._random.observe(number, configuration, score)
        self._observed.append((configuration, score))

    def _suggested(self, number: int) -> Configuration:
        optimizer = self._optimizer(int(np.random.SeedSequence((*self._seed, number)).generate_state(1)[0]))
        for configuration, score in self._believed():
            point = optimizer.space.params_to_array(encoded(self._free, configuration))
            if point not in optimizer.space:
                optimizer.space.register(point, score)
        # Matrices this small are slower on several threads, and come out differently.
        with threadpool_limits(1):
            suggested: dict[str, Any] = optimizer.suggest()
        return next(iter(corners(self._fixed)), {}) | decoded(self._free, suggested)

    def _believed(self) -> list[tuple[Configuration, float]]:
        scores = [score for _, score in self._observed if score is not None]
        worst, mean = min(scores), float(np.mean(scores))
        believed = [(each, worst if score is None else score) for each, score in self._observed]
        older, newer = believed[: -MOST_FITTED // 2], believed[-MOST_FITTED // 2 :]
        best = sorted(older, key=lambda pair: -pair[1])[: MOST_FITTED // 2]
        return [*best, *newer, *((each, mean) for each in self._running.values())]

    def _optimizer(self, seed: int) -> BayesianOptimization:
        parameters: dict[str, Any] = {name: _parameter(name, dimension) for name, dimension in self._free.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Non-float parameters are experimental", UserWarning)
            optimizer = BayesianOptimization(
                None,
                parameters,
                acquisition_function=_Improvement(xi=0.01),
                random_state=seed,
                verbose=0,
            )
        optimizer.set_gp_params(alpha=NOISE, n_restarts_optimizer=RESTARTS)
        return optimizer


class _Improvement(ExpectedImprovement):
    """Expected improvement, maximised by trying many points at once: one by one, whole numbers would take a second."""

    def suggest(
        self,
        gp: GaussianProcessRegressor,
        target_space: TargetSpace,
        n_random: int = CANDIDATES,
        n_smart: int = 0,
        fit_gp: bool = True,
        random_state: Any = None,
    ) -> Floats:
        best: Any = super().suggest(gp, target_space, n_random, n_smart, fit_gp, random_state)
        for width in WIDTHS:
            near = np.clip(best + width * random_state.normal(size=(NEIGHBOURS, len(best))), 0.0, 1.0)
            near[0] = best
            best = near[np.argmax(self.base_acq(*gp.predict(near, return_std=True)))]
        return np.asarray(best, dtype=np.float64)


class _Whole(BayesParameter):
    """A whole number, as its position in [0, 1] along its own scale."""

    def __init__(self, name: str, dimension: IntegerRange) -> None:
        super().__init__(name, np.array([0.0, 1.0]))
        self._dimension = dimension

    @property
    def is_continuous(self) -> bool:
        return False

    @property
    def dim(self) -> int:
        return 1

    def to_float(self, value: Any) -> Floats:
        return positions_of(self._dimension, np.asarray(value, dtype=np.float64))

    def to_param(self, value: Any) -> int:
        return int(values_at(self._dimension, np.squeeze(value)))

    def kernel_transform(self, value: Any) -> Floats:
        return self.to_float(values_at(self._dimension, value))


def _parameter(name: str, dimension: Dimension) -> BayesParameter:
    if isinstance(dimension, Choice):
        count = len(dimension.values)
        if count <= MOST_CATEGORIES:
            return CategoricalParameter(name, range(count))
        return _Whole(name, IntegerRange(kind="integer", low=0, high=count - 1))
    if isinstance(dimension, IntegerRange) and not is_continuous(dimension):
        return _Whole(name, dimension)
    return FloatParameter(name, (0.0, 1.0))
