"""What every family must keep to in training."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from orchestrator.algorithms.base import CannotTrain, Configuration, Trainer
from schemas.base import Scalar
from schemas.search import Choice, Dimension
from tests.contracts.algorithms.families import FAMILIES, NAMES, Family, fit, rows

pytestmark = pytest.mark.slow


def ends(dimension: Dimension) -> tuple[Scalar, ...]:
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def dumps(predictors: tuple[Any, ...]) -> list[bytes]:
    return [predictor.dump() for predictor in predictors]


def test_its_space_and_its_grid_hold_what_it_accepts(trainer: Trainer) -> None:
    assert set(trainer.default_grid) <= set(trainer.space)
    for values in ({name: ends(dimension) for name, dimension in trainer.space.items()}, trainer.default_grid):
        for chosen in product(*values.values()):
            assert trainer.refuse(dict(zip(values, chosen, strict=True))) == ()


def test_it_says_what_it_takes(trainer: Trainer) -> None:
    assert (trainer.resources.cpus > 0, trainer.resources.gpus >= 0, trainer.batch >= 1) == (True, True, True)
    assert trainer.budget.full >= 1
    assert trainer.budget.accumulates == (trainer.budget.unit != "percent_of_rows")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_bad_configuration_is_refused_with_its_fault(name: str) -> None:
    trainer = FAMILIES[name].build()
    for configuration, expected in FAMILIES[name].bad.values():
        assert [(reason.code, reason.where) for reason in trainer.refuse(configuration)] == [expected]


def test_what_cannot_be_trained_is_named_by_its_place(family: Family, trainer: Trainer) -> None:
    (bad, (code, where)), *_ = family.bad.values()
    with pytest.raises(CannotTrain) as refusal:
        fit(trainer, [family.good[0], bad, family.good[1]])
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [(code, f"configurations[1].{where}")]


def test_predictors_come_in_the_order_of_the_configurations(family: Family, trainer: Trainer) -> None:
    one, two, three = dumps(fit(trainer, family.good))
    assert len({one, two, three}) == 3
    assert dumps(fit(trainer, [*reversed(family.good), family.good[0]])) == [three, two, one, one]
    assert fit(trainer, []) == ()


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads_and_the_company(
    family: Family, trainer: Trainer
) -> None:
    together = dumps(fit(trainer, family.good))
    for threads in (2, 3):
        assert dumps(fit(trainer, family.good, threads=threads)) == together
        assert dumps(fit(trainer, family.good[:1], threads=threads)) == together[:1]
    assert (dumps(fit(trainer, family.good, seed=4)) != together) == family.random


def test_one_training_set_serves_many_calls(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    training = trainer.prepare(features, target, NAMES, seed=3, threads=2)
    first = dumps(training.fit(family.good))
    training.fit(family.good, budget=2)
    assert dumps(training.fit(family.good)) == first


def test_rows_that_are_not_finite_are_left_out(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    spoiled, unknown = features.copy(), target.copy()
    spoiled[10, 2], spoiled[20, 0], spoiled[40, 1], unknown[30] = np.nan, np.inf, -np.inf, np.nan
    kept = np.delete(np.arange(len(target)), [10, 20, 30, 40])
    found, expected = (
        trainer.prepare(*each, NAMES, seed=3, threads=1).fit(family.good)
        for each in ((spoiled, unknown), (features[kept], target[kept]))
    )
    assert dumps(found) == dumps(expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_it_is_given_stays_as_it_is(family: Family, trainer: Trainer, order: Any) -> None:
    features, target = (np.array(each, order=order) for each in rows())
    features.flags.writeable = target.flags.writeable = False
    found = trainer.prepare(features, target, NAMES, seed=3, threads=1).fit(family.good)
    features, target = rows()
    expected = trainer.prepare(features, target, NAMES, seed=3, threads=1).fit(family.good)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.predict(features), other.predict(features), rtol=1e-9, atol=1e-12)


def test_too_few_finite_rows_are_refused(trainer: Trainer) -> None:
    features, target = rows(10)
    target[1:] = np.nan
    with pytest.raises(CannotTrain, match="too_few_rows"):
        trainer.prepare(features, target, NAMES, seed=3, threads=1)


@pytest.mark.parametrize("count", [2, 3])
def test_few_rows_are_enough(family: Family, trainer: Trainer, count: int) -> None:
    for predictor in fit(trainer, family.good, count=count):
        assert np.isfinite(predictor.predict(rows()[0])).all()


def test_features_and_targets_without_variance_are_no_obstacle(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    features[:, 1] = 0.1
    for wanted in (target, np.full(len(target), 0.25)):
        for predictor in trainer.prepare(features, wanted, NAMES, seed=3, threads=1).fit(family.good[:2]):
            predicted = predictor.predict(features)
            assert np.isfinite(predicted).all()
            if np.ptp(wanted) == 0:
                np.testing.assert_allclose(predicted, 0.25, rtol=1e-6)


def test_it_learns_what_there_is_to_learn(family: Family, trainer: Trainer) -> None:
    features, target = rows(2000)
    configuration: Configuration = family.good[0]
    (predictor,) = trainer.prepare(features, target, NAMES, seed=3, threads=2).fit([configuration])
    unseen, outcome = rows(1000, seed=2)
    assert np.corrcoef(predictor.predict(unseen), outcome)[0, 1] > 0.35
