"""What is the boosters' own: going on as going through, small returns, files that the libraries read."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from orchestrator.algorithms.base import MalformedModel
from orchestrator.algorithms.lightgbm_regressor import LightGBMTrainer
from orchestrator.algorithms.sealed import Label, seal, unseal
from orchestrator.algorithms.xgboost_regressor import UNIT, XGBoostTrainer
from orchestrator.core.arrays import Floats

NAMES = ("a", "b", "c", "d")
TRAINERS = [XGBoostTrainer, LightGBMTrainer]
WHOLE = {"learning_rate": 0.2, "subsample": 1.0, "colsample_bytree": 1.0}


def rows(count: int = 600, size: float = 0.01) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(count, 4))
    return features, size * (features[:, 0] * features[:, 1] + 0.5 * rng.normal(size=count))


def training(trainer: Any, size: float = 0.01, threads: int = 1, count: int = 600) -> Any:
    return trainer().prepare(*rows(count, size), NAMES, seed=3, threads=threads)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_going_on_is_going_through_where_nothing_is_drawn(trainer: Any) -> None:
    features, target = rows()
    prepared = training(trainer)
    through = prepared.fit([WHOLE], budget=60)[0].predict(features)
    begun = prepared.fit([WHOLE], budget=30)
    np.testing.assert_allclose(
        prepared.fit([WHOLE], budget=60, starts=begun)[0].predict(features), through, rtol=0, atol=1e-9 * target.std()
    )
    loaded = [trainer().load(begun[0].dump())]
    np.testing.assert_allclose(
        prepared.fit([WHOLE], budget=60, starts=loaded)[0].predict(features), through, rtol=0, atol=1e-9 * target.std()
    )


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_goes_on_learns_more_of_the_training_rows(trainer: Any) -> None:
    features, target = rows()
    prepared = training(trainer)
    drawn = {"learning_rate": 0.2, "subsample": 0.5, "colsample_bytree": 0.5}
    begun = prepared.fit([drawn], budget=20)
    missed = [
        float(np.mean((predictor.predict(features) - target) ** 2))
        for (predictor,) in (begun, prepared.fit([drawn], budget=60, starts=begun))
    ]
    assert missed[1] < 0.8 * missed[0]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("size", [1e-5, 10.0])
def test_the_size_of_returns_is_no_matter(trainer: Any, size: float) -> None:
    features, _ = rows()
    (found,), (expected,) = (training(trainer, each).fit([WHOLE], budget=40) for each in (size, 0.01))
    np.testing.assert_allclose(found.predict(features) / size, expected.predict(features) / 0.01, rtol=0, atol=0.02)
    assert np.corrcoef(found.predict(features), features[:, 0] * features[:, 1])[0, 1] > 0.8


@pytest.mark.parametrize("trainer", TRAINERS)
def test_one_configuration_on_many_threads_is_the_one_on_a_single_thread(trainer: Any) -> None:
    one, many = (training(trainer, threads=threads, count=20_000).fit([{}], budget=30) for threads in (1, 2))
    assert one[0].dump() == many[0].dump()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_trees_that_cannot_be_split_predict_the_mean(trainer: Any) -> None:
    features, target = rows(30)
    hopeless = {"min_child_weight": 1000} if trainer is XGBoostTrainer else {"min_child_samples": 1000}
    (predictor,) = training(trainer, count=30).fit([hopeless], budget=10)
    np.testing.assert_allclose(predictor.predict(features), target.mean(), rtol=1e-4)
    assert trainer().load(predictor.dump()).predict(features).tobytes() == predictor.predict(features).tobytes()


def test_the_body_of_a_dump_is_what_xgboost_reads() -> None:
    features, _ = rows()
    (predictor,) = training(XGBoostTrainer).fit([WHOLE], budget=5)
    *_, body = predictor.dump().split(b"\n", 2)
    booster = xgboost.Booster(model_file=bytearray(body))
    predicted = booster.predict(xgboost.DMatrix(features, feature_names=list(NAMES))).astype(np.float64)
    np.testing.assert_allclose(predicted * UNIT, predictor.predict(features), rtol=1e-6)


def test_the_body_of_a_dump_is_what_lightgbm_reads() -> None:
    features, _ = rows()
    (predictor,) = training(LightGBMTrainer).fit([WHOLE], budget=5)
    *_, body = predictor.dump().split(b"\n", 2)
    assert b"parameters" not in body
    booster = lightgbm.Booster(model_str=body.decode())
    np.testing.assert_array_equal(booster.predict(features), predictor.predict(features))


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("body", [b"", b"{", b"{L", b'{"a":1}', b"tree\nversion=v4\n", b"\xff\x00\x01"])
def test_a_whole_file_whose_body_is_something_else_is_refused(trainer: Any, body: bytes) -> None:
    label = unseal(AnyLabel, training(trainer).fit([WHOLE], budget=5)[0].dump())[0]
    with pytest.raises(MalformedModel, match="does not read it"):
        trainer().load(seal(label, body))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_label_that_names_other_features_than_the_model_is_refused(trainer: Any) -> None:
    label, body = unseal(AnyLabel, training(trainer).fit([WHOLE], budget=5)[0].dump())
    other = label.model_copy(update={"feature_names": ("b", "a", "c", "d")})
    with pytest.raises(MalformedModel) as refusal:
        trainer().load(seal(other, body))
    assert [reason.where for reason in refusal.value.reasons] == ["feature_names"]


class AnyLabel(Label):
    algorithm: str
    version: str
