"""What is the forest's own: its arrays are scikit-learn's trees."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from orchestrator.algorithms.base import MalformedModel
from orchestrator.algorithms.random_forest_regressor import Forest, RandomForestPredictor, RandomForestTrainer
from orchestrator.algorithms.sealed import Label, seal, unseal
from orchestrator.core.arrays import Floats

TRAINER = RandomForestTrainer()
NAMES = ("a", "b", "c")
DEEP = {"max_depth": 12, "min_samples_leaf": 1, "max_features": 0.7, "max_samples": 0.9}


def rows(count: int = 500) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(count, 3))
    return features, 0.01 * (features[:, 0] * features[:, 1] + rng.normal(size=count))


def grown(trees: int, starts: Any = None) -> RandomForestPredictor:
    (predictor,) = TRAINER.prepare(*rows(), NAMES, seed=3, threads=2).fit([DEEP], budget=trees, starts=starts)
    return predictor


def test_it_predicts_what_scikit_learn_does_to_the_last_bit() -> None:
    features, target = rows()
    plain = RandomForestRegressor(n_estimators=30, random_state=3, **DEEP).fit(features, target)
    unseen = np.random.default_rng(6).normal(size=(5_000, 3))
    assert grown(30).predict(unseen).tobytes() == plain.predict(unseen).tobytes()


def test_growing_is_having_been_grown_through() -> None:
    begun = grown(7)
    assert grown(30, [begun]).dump() == grown(30).dump()
    assert grown(30, [TRAINER.load(begun.dump())]).dump() == grown(30).dump()


def test_a_tree_of_one_leaf_predicts_the_mean_of_its_rows() -> None:
    features, target = rows()
    (predictor,) = TRAINER.prepare(features, target, NAMES, seed=3, threads=1).fit(
        [{"min_samples_leaf": 1000}], budget=1
    )
    assert len(predictor.forest.value) == 1
    assert predictor.predict(features).tolist() == [predictor.forest.value[0]] * len(features)


SOUND = grown(2).forest
SPOILT: dict[str, Forest] = {
    "roots": replace(SOUND, roots=SOUND.roots[::-1].copy()),
    "children": replace(SOUND, children=np.where(SOUND.children == SOUND.children[0, 0], 0, SOUND.children)),
    "feature": replace(SOUND, feature=SOUND.feature + np.int32(1)),
    "threshold": replace(SOUND, threshold=np.where(np.isfinite(SOUND.threshold), np.nan, SOUND.threshold)),
    "value": replace(SOUND, value=SOUND.value * np.nan),
}


@pytest.mark.parametrize("where", SPOILT)
def test_trees_that_cannot_be_followed_are_refused(where: str) -> None:
    with pytest.raises(MalformedModel) as refusal:
        TRAINER.load(RandomForestPredictor(NAMES, SPOILT[where]).dump())
    assert [reason.where for reason in refusal.value.reasons] == [where]


@pytest.mark.parametrize(
    "children", [len(SOUND.value), -1, 2**31 - 1], ids=["beyond the last", "before the first", "far away"]
)
def test_a_child_that_is_not_there_is_refused(children: int) -> None:
    spoilt = SOUND.children.copy()
    spoilt[0, 1] = children
    with pytest.raises(MalformedModel, match="children"):
        TRAINER.load(RandomForestPredictor(NAMES, replace(SOUND, children=spoilt)).dump())


class AnyLabel(Label):
    algorithm: str
    version: str
    trees: int
    nodes: int


@pytest.mark.parametrize("change", [{"nodes": 1}, {"trees": 1}, {"trees": 0}, {"nodes": 2**31}])
def test_a_label_that_counts_otherwise_is_refused(change: dict[str, int]) -> None:
    label, body = unseal(AnyLabel, grown(2).dump())
    with pytest.raises(MalformedModel):
        TRAINER.load(seal(label.model_copy(update=change), body))
