"""Training that goes on from where a model stands: rounds of trees, epochs of networks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from orchestrator.algorithms.base import Budget, CannotTrain, Configuration, Predictor
from orchestrator.algorithms.hyperparameters import Limit, Limits, completed
from orchestrator.algorithms.training import cannot_train, side_by_side
from schemas.base import Reason

ROUNDS = Budget("rounds", full=100, accumulates=True)
"""Of the families of trees; a round is a tree."""
N_ESTIMATORS = Limit(1, 10_000, whole=True, default=ROUNDS.full)
"""Rounds that a configuration of trees asks for itself; an explicit budget overrides it."""


class Accumulated(Predictor, Protocol):
    """A predictor that knows what was spent on it."""

    @property
    def spent(self) -> int:
        """Rounds or epochs."""
        ...


_Model = TypeVar("_Model", bound=Accumulated)


class AccumulatingTraining(Generic[_Model]):
    """A `Training` of configurations that are trained one by one, side by side.

    Args:
        family: the trainer's name.
        limits: its hyper-parameters.
        full: its full budget.
        kind: its predictors.
        feature_names: of the columns.
        threads: cores that `fit` may use.
        advance: (hyper-parameters but `n_estimators`, rounds or epochs to add, start, threads) -> the trained model.
            The start stays as it is. What it raises as CannotTrain is the configuration's own fault.
    """

    def __init__(
        self,
        family: str,
        limits: Limits,
        full: int,
        kind: type[_Model],
        feature_names: Sequence[str],
        threads: int,
        advance: Callable[[dict[str, float], int, _Model | None, int], _Model],
    ) -> None:
        self._family = family
        self._limits = limits
        self._full = full
        self._kind = kind
        self._feature_names = tuple(feature_names)
        self._threads = threads
        self._advance = advance

    def fit(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> tuple[_Model, ...]:
        """Train as `Training.fit`.

        Raises:
            CannotTrain: configurations are refused, a start is of another family or takes other features
                (`foreign_start`), or one cannot be trained.
            ValueError: there are more or fewer starts than configurations.
        """
        fits = self.fits(configurations, budget=budget, starts=starts)
        faults: dict[int, tuple[Reason, ...]] = {}

        def train(number: int, threads: int) -> _Model | None:
            try:
                return fits[number](threads)
            except CannotTrain as refused:
                faults[number] = refused.reasons
                return None

        trained = side_by_side(train, len(fits), self._threads)
        if faults:
            raise cannot_train(faults)
        return tuple(model for model in trained if model is not None)

    def fits(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> list[Callable[[int], _Model]]:
        """By configuration what trains it, as `Apart.fits`."""
        wanted = completed(self._family, self._limits, configurations)
        begun = self._own(starts, len(wanted))

        def train(parameters: dict[str, float], start: _Model | None, threads: int) -> _Model:
            asked = int(parameters.pop("n_estimators", self._full))
            more = (asked if budget is None else budget) - (0 if start is None else start.spent)
            return start if start is not None and more <= 0 else self._advance(parameters, more, start, threads)

        return [partial(train, dict(each), start) for each, start in zip(wanted, begun, strict=True)]

    def _own(self, starts: Sequence[Predictor | None] | None, count: int) -> list[_Model | None]:
        given = [None] * count if starts is None else starts
        if len(given) != count:
            raise ValueError(f"{count} configurations have {len(given)} starts")
        own = [
            start if isinstance(start, self._kind) and start.feature_names == self._feature_names else None
            for start in given
        ]
        faults = [
            Reason(
                code="foreign_start",
                where=f"configurations[{number}]",
                message=f"It would go on from a {type(start).__name__} of {len(start.feature_names)} features; give a "
                f"{self._kind.__name__} that takes: {', '.join(self._feature_names)}."[:4096],
            )
            for number, start in enumerate(given)
            if start is not None and own[number] is None
        ]
        if faults:
            raise CannotTrain(faults)
        return own
