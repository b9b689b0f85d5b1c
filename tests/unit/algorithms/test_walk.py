from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from orchestrator.algorithms.base import CannotTrain, Configuration, Predictor
from orchestrator.algorithms.elasticnet import ElasticNetPredictor, ElasticNetTrainer, ElasticNetTraining
from orchestrator.algorithms.moments import Moments
from orchestrator.algorithms.walk import Walk
from orchestrator.core.arrays import Floats
from orchestrator.core.splits import Fold

NAMES = ("a", "b", "c")
ROWS = np.arange(100)
FOLDS = (Fold(ROWS[:50], ROWS[50:70]), Fold(ROWS[5:68:2], ROWS[70:75]), Fold(ROWS[:75], ROWS[75:]))
GRID: list[Configuration] = [{"alpha": alpha, "l1_ratio": 0.5} for alpha in (0.001, 0.1, 1.0)]


class Noted(ElasticNetTraining):
    """Notes what is asked of it."""

    def __init__(self, features: Floats, target: Floats, asked: list[Any]) -> None:
        super().__init__(lambda percent: Moments.of(features, target), NAMES)
        self._asked = asked

    def fit(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> tuple[ElasticNetPredictor, ...]:
        self._asked.append((budget, starts))
        return super().fit(configurations, budget=budget, starts=starts)


class Watched(ElasticNetTrainer):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.prepared: list[Floats] = []
        self.asked: list[Any] = []

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> Noted:
        self.prepared.append(features)
        return Noted(features, target, self.asked)


def market() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(100, 3))
    return features, features[:, 0] + rng.normal(size=100)


def walk(trainer: ElasticNetTrainer, folds: Sequence[Fold] = FOLDS, threads: int = 1) -> Walk:
    return Walk(trainer, *market(), folds, NAMES, seed=0, threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_predictions_come_in_the_order_of_configurations_and_folds(threads: int) -> None:
    features, target = market()
    predicted, predictors = walk(ElasticNetTrainer(), threads=threads).forward(GRID)
    assert (predicted.shape, len(predictors)) == ((3, 50), 3)
    for row, configuration in enumerate(GRID):
        begin = 0
        for number, fold in enumerate(FOLDS):
            training = ElasticNetTrainer().prepare(features[fold.train], target[fold.train], NAMES, seed=0, threads=1)
            (expected,) = training.fit([configuration])
            assert predictors[row][number].feature_names == NAMES
            np.testing.assert_allclose(
                predictors[row][number].predict(features), expected.predict(features), rtol=0, atol=1e-12
            )
            part = predicted[row, begin : begin + len(fold.test)]
            np.testing.assert_allclose(part, expected.predict(features[fold.test]), rtol=0, atol=1e-12)
            begin += len(fold.test)


def test_a_training_set_is_prepared_once_and_without_a_copy_where_its_rows_follow_one_another() -> None:
    trainer = Watched()
    features, target = market()
    walking = Walk(trainer, features, target, FOLDS, NAMES, seed=0, threads=1)
    assert trainer.prepared == []
    walking.forward(GRID)
    walking.forward(GRID[:1])
    assert [np.shares_memory(rows, features) for rows in trainer.prepared] == [True, False, True]
    np.testing.assert_array_equal(trainer.prepared[1], features[5:68:2])


def test_the_budget_and_the_starts_of_each_fold_are_handed_on() -> None:
    trainer = Watched()
    walking = walk(trainer)
    _, begun = walking.forward(GRID[:2], budget=50)
    walking.forward(GRID, budget=80, starts=[begun[1], None, begun[0]])
    assert trainer.asked[:3] == [(50, [None, None])] * 3
    assert trainer.asked[3:] == [(80, [begun[1][number], None, begun[0][number]]) for number in range(3)]


def test_no_configurations_give_no_rows_and_no_folds_no_columns() -> None:
    predicted, predictors = walk(ElasticNetTrainer()).forward([])
    assert (predicted.shape, predictors) == ((0, 50), ())
    predicted, predictors = walk(ElasticNetTrainer(), folds=()).forward(GRID)
    assert (predicted.shape, predictors) == ((3, 0), ((), (), ()))


def test_each_configuration_has_starts_or_none() -> None:
    with pytest.raises(ValueError, match="3 configurations have 1 starts"):
        walk(ElasticNetTrainer()).forward(GRID, starts=[None])


def test_a_fold_without_finite_rows_is_refused() -> None:
    features, target = market()
    target[:49] = np.nan
    with pytest.raises(CannotTrain, match="too_few_rows"):
        Walk(ElasticNetTrainer(), features, target, FOLDS, NAMES, seed=0, threads=1).forward(GRID)
