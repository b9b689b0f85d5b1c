"""Walking forward over folds: trained on each one's past, predicting what follows."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import Apart, CannotTrain, Configuration, Predictor, Trainer, Training
from orchestrator.algorithms.training import cannot_train, side_by_side
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.splits import Fold
from schemas.base import Reason


class Walk:
    """A family walking forward over folds; each fold's training set is prepared once, when first needed.

    Args:
        trainer: the family.
        features: (n, f), in time order.
        target: (n,), NaN where unknown.
        folds: row numbers to train on and to predict.
        feature_names: of the columns.
        seed: of whatever is random in training.
        threads: cores that a walk may use.
    """

    def __init__(
        self,
        trainer: Trainer,
        features: Floats,
        target: Floats,
        folds: Sequence[Fold],
        feature_names: Sequence[str],
        *,
        seed: int,
        threads: int,
    ) -> None:
        self._trainer = trainer
        self._features = features
        self._target = target
        self._folds = tuple(folds)
        self._feature_names = tuple(feature_names)
        self._seed = seed
        self._threads = threads
        self._trainings: dict[int, Training] = {}

    def forward(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Sequence[Predictor] | None] | None = None,
    ) -> tuple[Floats, tuple[tuple[Predictor, ...], ...]]:
        """Train configurations on every fold, and predict its test rows.

        Args:
            configurations: k of them, none refused.
            budget: until which each is trained in all, as `Training.fit` has it.
            starts: by configuration the predictors by fold that it goes on from, or None.

        Returns:
            (k, n_out_of_fold) predictions: the folds' test rows one fold after the other, NaN for a row in which a
            feature is not finite; and by configuration its predictors by fold.

        Raises:
            CannotTrain: with a reason for each configuration that cannot be trained; or a fold has too few rows.
            MissingExtra: a library that trains the family is not installed.
        """
        begun = [None] * len(configurations) if starts is None else starts
        if len(begun) != len(configurations):
            raise ValueError(f"{len(configurations)} configurations have {len(begun)} starts")
        starting = [[by_fold[number] if by_fold else None for by_fold in begun] for number in range(len(self._folds))]
        if self._threads > 1 and all(isinstance(self._training(number), Apart) for number in range(len(self._folds))):
            return self._apart(configurations, budget, starting)
        predicted, parts = self._nothing(len(configurations))
        trained: list[tuple[Predictor, ...]] = []
        for number, fold in enumerate(self._folds):
            predictors = self._training(number).fit(configurations, budget=budget, starts=starting[number])
            self._predict(predictors, _rows(self._features, fold.test), predicted[:, parts[number]])
            trained.append(predictors)
        return predicted, tuple(tuple(by_fold[row] for by_fold in trained) for row in range(len(configurations)))

    def _apart(
        self,
        configurations: Sequence[Configuration],
        budget: int | None,
        starting: Sequence[Sequence[Predictor | None]],
    ) -> tuple[Floats, tuple[tuple[Predictor, ...], ...]]:
        """Every configuration of every fold by itself, so that no thread waits for the others at the end of a fold."""
        count, last = len(configurations), len(self._folds) - 1
        predicted, parts = self._nothing(count)
        fits = [
            cast(Apart, self._training(number)).fits(configurations, budget=budget, starts=starting[number])
            for number in range(len(self._folds))
        ]
        faults: dict[int, dict[int, tuple[Reason, ...]]] = {}

        def train(task: int, threads: int) -> Predictor | None:
            # The newest fold first: its training set is the largest, and small ones fill the end.
            number, row = last - task // count, task % count
            try:
                predictor = fits[number][row](threads)
            except CannotTrain as refused:
                faults.setdefault(number, {})[row] = refused.reasons
                return None
            features = _rows(self._features, self._folds[number].test)
            predicted[row, parts[number]] = self._trainer.predictions([predictor], features)[0]
            return predictor

        trained = side_by_side(train, count * len(self._folds), self._threads)
        if faults:
            raise cannot_train(faults[min(faults)])
        found = [predictor for predictor in trained if predictor is not None]
        return predicted, tuple(tuple(found[row::count][::-1]) for row in range(count))

    def _nothing(self, count: int) -> tuple[Floats, list[slice]]:
        """Room for predictions, and by fold its part of it."""
        edges = np.cumsum([0, *(len(fold.test) for fold in self._folds)]).tolist()
        return np.empty((count, edges[-1])), [slice(*edge) for edge in pairwise(edges)]

    def _training(self, number: int) -> Training:
        if number not in self._trainings:
            rows = self._folds[number].train
            self._trainings[number] = self._trainer.prepare(
                _rows(self._features, rows),
                _rows(self._target, rows),
                self._feature_names,
                seed=self._seed,
                threads=self._threads,
            )
        return self._trainings[number]

    def _predict(self, predictors: Sequence[Predictor], features: Floats, into: Floats) -> None:
        parts = max(1, min(len(predictors), self._threads))
        bounds = np.linspace(0, len(predictors), parts + 1).astype(int).tolist()

        def part(number: int, _: int) -> None:
            chosen = slice(bounds[number], bounds[number + 1])
            into[chosen] = self._trainer.predictions(predictors[chosen], features)

        side_by_side(part, parts, self._threads)


def _rows(values: NDArray[Any], rows: Integers) -> NDArray[Any]:
    """Without a copy where the rows follow one another, as those of walk-forward folds mostly do."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return values[rows[0] : rows[-1] + 1]
    return values[rows]
