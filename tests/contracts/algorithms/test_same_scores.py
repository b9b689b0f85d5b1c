"""Walking forward gives what a plain loop over the folds gives with each library's own interface."""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import ElasticNet, HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.algorithms.base import Configuration
from orchestrator.algorithms.walk import Walk
from orchestrator.algorithms.xgboost_regressor import UNIT
from orchestrator.core.arrays import Floats
from orchestrator.core.splits import purged_walk_forward
from tests.contracts.algorithms.families import FAMILIES, NAMES, rows

pytestmark = pytest.mark.slow

SEED = 7
Plain = Callable[[dict[str, Any], Floats, Floats, Floats], Floats]


def standardised(model: Any, train: Floats, target: Floats, test: Floats) -> Floats:
    outcome = StandardScaler().fit(target[:, None])
    predicted = (
        make_pipeline(StandardScaler(), model).fit(train, outcome.transform(target[:, None])[:, 0]).predict(test)
    )
    return np.asarray(predicted * outcome.scale_ + outcome.mean_)


def elastic_net(parameters: dict[str, Any], train: Floats, target: Floats, test: Floats) -> Floats:
    return standardised(ElasticNet(tol=1e-12, max_iter=100_000, **parameters), train, target, test)


def huber(parameters: dict[str, Any], train: Floats, target: Floats, test: Floats) -> Floats:
    return standardised(HuberRegressor(max_iter=1000, **parameters), train, target, test)


def boosted_by_xgboost(parameters: dict[str, Any], train: Floats, target: Floats, test: Floats) -> Floats:
    model = xgboost.XGBRegressor(tree_method="hist", max_bin=64, random_state=SEED, n_jobs=2, **parameters)
    return np.asarray(model.fit(train, target / UNIT).predict(test), dtype=np.float64) * UNIT


def boosted_by_lightgbm(parameters: dict[str, Any], train: Floats, target: Floats, test: Floats) -> Floats:
    model = lightgbm.LGBMRegressor(
        max_bin=63,
        subsample_freq=1,
        random_state=SEED,
        deterministic=True,
        force_row_wise=True,
        feature_pre_filter=False,
        min_child_weight=1e-3,
        verbosity=-1,
        n_jobs=2,
        **parameters,
    )
    return np.asarray(model.fit(train, target, feature_name=list(NAMES)).booster_.predict(test))


def forest(parameters: dict[str, Any], train: Floats, target: Floats, test: Floats) -> Floats:
    return np.asarray(RandomForestRegressor(random_state=SEED, n_jobs=2, **parameters).fit(train, target).predict(test))


BOOSTED = {"learning_rate": 0.1, "subsample": 0.7, "colsample_bytree": 0.6, "reg_lambda": 2.0, "n_estimators": 40}
FOREST = {"max_features": 0.6, "max_samples": 0.7, "n_estimators": 30}
LOOPS: dict[str, tuple[Plain, tuple[Configuration, ...], float]] = {
    # By family: the loop, configurations, and the tolerance as a share of the predictions' own deviation.
    "elasticnet": (elastic_net, ({"alpha": 0.01, "l1_ratio": 0.5}, {"alpha": 0.1, "l1_ratio": 0.9}), 1e-6),
    "huber_regressor": (huber, ({"epsilon": 1.35, "alpha": 1.0}, {"epsilon": 2.0, "alpha": 100.0}), 1e-6),
    "xgboost_regressor": (
        boosted_by_xgboost,
        (BOOSTED | {"max_depth": 4, "min_child_weight": 5}, BOOSTED | {"max_depth": 2, "min_child_weight": 20}),
        1e-5,
    ),
    "lightgbm_regressor": (
        boosted_by_lightgbm,
        (BOOSTED | {"num_leaves": 12, "min_child_samples": 5}, BOOSTED | {"num_leaves": 3, "min_child_samples": 20}),
        1e-12,
    ),
    "random_forest_regressor": (
        forest,
        (FOREST | {"max_depth": 8, "min_samples_leaf": 3}, FOREST | {"max_depth": 2, "min_samples_leaf": 20}),
        1e-12,
    ),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_out_of_fold_predictions_equal_a_plain_loop(name: str, threads: int) -> None:
    plain, configurations, tolerance = LOOPS[name]
    features, target = rows(700)
    folds = purged_walk_forward(np.arange(700) + 1, folds=4)
    walk = Walk(FAMILIES[name].build(), features, target, folds, NAMES, seed=SEED, threads=threads)
    predicted, predictors = walk.forward(configurations)
    assert [len(by_fold) for by_fold in predictors] == [len(folds)] * len(configurations)
    for row, configuration in enumerate(configurations):
        expected = np.concatenate(
            [plain(dict(configuration), features[f.train], target[f.train], features[f.test]) for f in folds]
        )
        np.testing.assert_allclose(predicted[row], expected, rtol=0, atol=tolerance * expected.std())
