"""What is the network's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.algorithms.base import CannotTrain, MalformedModel
from orchestrator.algorithms.lstm import LSTMTrainer
from orchestrator.algorithms.recurrent import BATCH
from orchestrator.core.arrays import Floats

pytestmark = pytest.mark.slow

pytest.importorskip("jax", reason="THE EXTRA lstm IS NOT INSTALLED; install ray-orchestrator[lstm]")

TRAINER = LSTMTrainer()
NAMES = ("x", "x.lag1", "x.lag2")
QUICK = {"hidden_units": 8, "learning_rate": 0.02, "dropout": 0.0, "weight_decay": 0.0}


def rows(count: int = 600) -> tuple[Floats, Floats]:
    """What is to be learnt is a product of two steps: no linear model finds it."""
    rng = np.random.default_rng(5)
    series = rng.normal(size=count + 2)
    features = np.column_stack([series[2:], series[1:-1], series[:-2]])
    return features, 0.01 * features[:, 0] * features[:, 2]


def trained(count: int = 600, budget: int = 5, starts: Any = None, **parameters: float) -> Any:
    training = TRAINER.prepare(*rows(count), NAMES, seed=3, threads=1)
    return training.fit([{**QUICK, **parameters}], budget=budget, starts=starts)[0]


def test_it_learns_how_steps_go_together() -> None:
    features, target = rows(2000)
    predictor = trained(1500, budget=60)
    assert np.corrcoef(predictor.predict(features[1500:]), target[1500:])[0, 1] > 0.8


@pytest.mark.parametrize("count", [2, BATCH, BATCH + 1])
def test_rows_that_fill_no_whole_step_are_all_learnt_from(count: int) -> None:
    features, target = rows(count)
    expected = target.mean()
    predictor = trained(count, budget=40, weight_decay=10.0, learning_rate=0.1)
    np.testing.assert_allclose(predictor.predict(features), expected, atol=target.std())
    target[-1] += 100.0 * target.std()
    (other,) = TRAINER.prepare(features, target, NAMES, seed=3, threads=1).fit([QUICK], budget=5)
    assert other.dump() != trained(count).dump()


def test_weights_that_grow_beyond_all_bounds_are_named() -> None:
    features, target = rows()
    training = TRAINER.prepare(features, target, NAMES, seed=3, threads=1)
    (start,) = training.fit([QUICK], budget=1)
    start = replace(start, weights={**start.weights, "offset": np.full(1, np.nan, dtype=np.float32)})
    with pytest.raises(CannotTrain) as refusal:
        training.fit([QUICK, QUICK], budget=2, starts=[None, start])
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [("not_converged", "configurations[1]")]


def test_going_on_with_more_or_fewer_units_goes_on_with_those_there_are() -> None:
    begun = trained(budget=40)
    features, target = rows()
    for units in (4, 16):
        gone_on = trained(budget=41, starts=[begun], hidden_units=units)
        assert len(gone_on.weights["head"]) == units
    missed, scratch = (
        float(np.mean((each.predict(features) - target) ** 2))
        for each in (trained(budget=41, starts=[begun], hidden_units=16), trained(budget=1, hidden_units=16))
    )
    assert missed < scratch


@pytest.mark.parametrize("array", ["mean", "deviation", "weights"])
def test_numbers_that_no_training_gives_are_refused(array: str) -> None:
    predictor = trained(budget=1)
    spoilt = getattr(predictor, array)["bias"] if array == "weights" else getattr(predictor, array)
    spoilt = np.array(spoilt)
    spoilt[0] = -1.0 if array == "deviation" else np.nan
    changed = {**predictor.weights, "bias": spoilt} if array == "weights" else spoilt
    damaged = type(predictor)(**{**arguments(predictor), array: changed})
    with pytest.raises(MalformedModel) as refusal:
        TRAINER.load(damaged.dump())
    assert [reason.where for reason in refusal.value.reasons] == ["bias" if array == "weights" else array]


def arguments(predictor: Any) -> dict[str, Any]:
    return {name: getattr(predictor, name) for name in type(predictor).__dataclass_fields__}
