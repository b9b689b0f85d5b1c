"""Walking forward over folds: trained on each one's past, predicting what follows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import Configuration, Predictor, Trainer, Training
from orchestrator.algorithms.training import side_by_side
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.splits import Fold


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
        predicted = np.empty((len(configurations), sum(len(fold.test) for fold in self._folds)))
        trained: list[tuple[Predictor, ...]] = []
        begin = 0
        for number, fold in enumerate(self._folds):
            starting = [None if by_fold is None else by_fold[number] for by_fold in begun]
            predictors = self._training(number).fit(configurations, budget=budget, starts=starting)
            end = begin + len(fold.test)
            self._predict(predictors, _rows(self._features, fold.test), predicted[:, begin:end])
            trained.append(predictors)
            begin = end
        return predicted, tuple(tuple(by_fold[row] for by_fold in trained) for row in range(len(configurations)))

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
