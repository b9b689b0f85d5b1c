"""What a user would search with instead: scikit-learn, Optuna, Ray Tune by itself, and bare library calls.

Each is given the same rows and folds, fits the same configurations and scores them out of fold by R^2.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna
import xgboost
from sklearn.linear_model import ElasticNet
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, ParameterGrid, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.searching import Ran, Scores, environment
from orchestrator.algorithms import lightgbm_regressor, xgboost_regressor
from orchestrator.algorithms.base import Configuration
from orchestrator.algorithms.hyperparameters import Limits
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.canonical import canonical_json
from orchestrator.search.evaluation import Ground
from schemas.base import Scalar

Grid = Mapping[str, Sequence[Scalar]]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, eq=False)
class Rows:
    """What a peer is given: features (n, f), target (n,), and by fold the rows to train on and to predict."""

    features: Floats
    target: Floats
    folds: tuple[tuple[Integers, Integers], ...]

    @classmethod
    def of(cls, ground: Ground, unit: float) -> "Rows":
        """The rows of a ground, the target in a unit that suits the peer."""
        folds = tuple((fold.train, fold.test) for fold in ground.folds)
        return cls(ground.dataset.features, ground.dataset.target / unit, folds)


def configurations_of(grid: Grid) -> list[dict[str, Scalar]]:
    """Every combination of a grid."""
    return [dict(each) for each in ParameterGrid({name: list(values) for name, values in grid.items()})]


def elastic_net(configuration: Mapping[str, Any]) -> Any:
    """Scaler and elastic net."""
    return make_pipeline(StandardScaler(), ElasticNet(**configuration))


def gridsearchcv(model: Any, grid: Grid, rows: Rows, *, jobs: int, prefix: str = "") -> Ran:
    """GridSearchCV over `model`, whose hyper-parameters go by the grid's names behind `prefix`."""
    began = time.perf_counter()
    search = GridSearchCV(
        model,
        {prefix + name: list(values) for name, values in grid.items()},
        scoring="r2",
        cv=rows.folds,
        n_jobs=jobs,
        refit=False,
        error_score="raise",
    ).fit(rows.features, rows.target)
    seconds = time.perf_counter() - began
    found = search.cv_results_
    by_fold = np.column_stack([found[f"split{number}_test_score"] for number in range(len(rows.folds))])
    names = [canonical_json({k.removeprefix(prefix): v for k, v in each.items()}) for each in found["params"]]
    return Ran(seconds, dict(zip(names, by_fold, strict=True)))


def optuna_grid(grid: Grid, rows: Rows) -> Ran:
    """Optuna's GridSampler over elastic nets, in this process."""
    scores: dict[str, Floats] = {}

    def objective(trial: optuna.Trial) -> float:
        configuration = {name: trial.suggest_categorical(name, list(values)) for name, values in grid.items()}
        model = elastic_net(configuration)
        by_fold = np.asarray(cross_val_score(model, rows.features, rows.target, scoring="r2", cv=rows.folds))
        scores[canonical_json(configuration)] = by_fold
        return float(by_fold.mean())

    began = time.perf_counter()
    sampler = optuna.samplers.GridSampler({name: list(values) for name, values in grid.items()}, seed=1)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(
        objective, n_trials=len(configurations_of(grid))
    )
    return Ran(time.perf_counter() - began, scores)


TUNED = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "60"}


def tune(configurations: Sequence[Configuration], rows: Rows, folder: Path, *, tuned: bool) -> Ran:
    """Ray Tune with a function that trains one elastic net; as it comes, or `tuned` to cost less itself."""
    from ray import tune as ray_tune

    # It refers to nothing of this package, so that its workers import no more than a user's own would.
    def peer(config: dict[str, Any], features: Floats, target: Floats, folds: Any) -> None:
        model = make_pipeline(StandardScaler(), ElasticNet(**config["configuration"]))
        by_fold = cross_val_score(model, features, target, scoring="r2", cv=folds)
        ray_tune.report({"r2": float(by_fold.mean()), "by_fold": by_fold.tolist()})

    # Two Tuners in one Ray session mix up functions of the same name.
    peer.__name__ = f"peer_{'tuned' if tuned else 'default'}_{time.monotonic_ns()}"
    with environment(**(TUNED if tuned else {})):
        began = time.perf_counter()
        found = ray_tune.Tuner(
            ray_tune.with_parameters(peer, features=rows.features, target=rows.target, folds=rows.folds),
            param_space={"configuration": ray_tune.grid_search([dict(each) for each in configurations])},
            tune_config=ray_tune.TuneConfig(reuse_actors=tuned),
            run_config=ray_tune.RunConfig(name=peer.__name__, storage_path=str(folder), verbose=0),
        ).fit()
        seconds = time.perf_counter() - began
    if found.errors:
        raise found.errors[0]
    ended = [found[number] for number in range(len(found))]
    return Ran(
        seconds,
        {
            canonical_json(each.config["configuration"]): np.array(each.metrics["by_fold"])
            for each in ended
            if each.config and each.metrics
        },
    )


@dataclass(frozen=True)
class Trees:
    """A library of boosted trees by its own calls: `model` for scikit-learn, the others for a bare loop, one thread."""

    unit: float
    """Of the target."""
    limits: Limits
    model: Callable[[int], Any]
    binned: Callable[[Floats, Floats], Any]
    trained: Callable[[Mapping[str, Any], Any, int], Any]
    predicted: Callable[[Any, Floats], Floats]

    def completed(self, configuration: Configuration) -> dict[str, Any]:
        """With the default of what it does not name."""
        return {name: limit.read(configuration.get(name)) for name, limit in self.limits.items()}


def _lightgbm_model(seed: int) -> Any:
    return lightgbm.LGBMRegressor(
        **_defaults(lightgbm_regressor.LIMITS),
        max_bin=lightgbm_regressor.BINNING["max_bin"],
        subsample_freq=1,
        deterministic=True,
        force_row_wise=True,
        seed=seed,
        n_jobs=1,
        verbosity=-1,
    )


def _lightgbm_binned(features: Floats, target: Floats) -> Any:
    params = {**lightgbm_regressor.BINNING, "num_threads": 1}
    return lightgbm.Dataset(features, label=target, params=params, free_raw_data=False).construct()


def _lightgbm_trained(parameters: Mapping[str, Any], binned: Any, seed: int) -> Any:
    own = {**lightgbm_regressor.SETTINGS, **parameters, "seed": seed, "num_threads": 1}
    return lightgbm.train(own, binned, num_boost_round=int(own.pop("n_estimators")))


def _lightgbm_predicted(booster: Any, features: Floats) -> Floats:
    return np.asarray(booster.predict(features, num_threads=1))


def _xgboost_model(seed: int) -> Any:
    return xgboost.XGBRegressor(
        **_defaults(xgboost_regressor.LIMITS), **xgboost_regressor.SETTINGS, random_state=seed, n_jobs=1
    )


def _xgboost_binned(features: Floats, target: Floats) -> Any:
    return xgboost.QuantileDMatrix(features, label=target, max_bin=xgboost_regressor.BINS, nthread=1)


def _xgboost_trained(parameters: Mapping[str, Any], binned: Any, seed: int) -> Any:
    own = {**xgboost_regressor.SETTINGS, **parameters, "seed": seed, "nthread": 1}
    return xgboost.train(own, binned, num_boost_round=int(own.pop("n_estimators")))


def _xgboost_predicted(booster: Any, features: Floats) -> Floats:
    return np.asarray(booster.inplace_predict(features), dtype=np.float64)


TREES = {
    "lightgbm": Trees(
        unit=1.0,
        limits=lightgbm_regressor.LIMITS,
        model=_lightgbm_model,
        binned=_lightgbm_binned,
        trained=_lightgbm_trained,
        predicted=_lightgbm_predicted,
    ),
    "xgboost": Trees(
        unit=xgboost_regressor.UNIT,
        limits=xgboost_regressor.LIMITS,
        model=_xgboost_model,
        binned=_xgboost_binned,
        trained=_xgboost_trained,
        predicted=_xgboost_predicted,
    ),
}


@dataclass(frozen=True, eq=False)
class Bare:
    """What a bare loop took on so many cores, all of them busy at once; seconds are sums over the cores."""

    cores: int
    fitting: float
    """Fits and predictions."""
    binning: float
    """Of every fold once on every core."""
    scores: Scores

    @property
    def ideal(self) -> float:
        """Configurations a second, did only fitting and predicting take time."""
        return len(self.scores) * self.cores / self.fitting

    @property
    def rebinning(self) -> float:
        """The same where each fit bins its own rows, as through scikit-learn's interface."""
        once = self.binning / self.cores
        return len(self.scores) * self.cores / (self.fitting + len(self.scores) * once)


def bare(library: str, configurations: Sequence[Configuration], rows: Rows, *, cores: int, seed: int) -> Bare:
    """`looped` in one process a core.

    All cores work at once, since they share memory and clock, which a single one would have for itself.
    """
    shares = [configurations[number::cores] for number in range(cores)]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(partial(looped, library, rows, seed=seed), shares))
    return Bare(
        cores=cores,
        fitting=sum(part.fitting for part in parts),
        binning=sum(part.binning for part in parts),
        scores={name: by_fold for part in parts for name, by_fold in part.scores.items()},
    )


def looped(library: str, rows: Rows, configurations: Sequence[Configuration], *, seed: int) -> Bare:
    """Plain calls of a library in one thread, one configuration after the other, each fold binned once for all."""
    trees, clock = TREES[library], time.perf_counter
    began = clock()
    binned = [trees.binned(rows.features[train], rows.target[train]) for train, _ in rows.folds]
    binning, fitting = clock() - began, 0.0
    scores: dict[str, Floats] = {}
    for configuration in configurations:
        parameters = trees.completed(configuration)
        by_fold: list[float] = []
        for training, (_, test) in zip(binned, rows.folds, strict=True):
            features, actual = rows.features[test], rows.target[test]
            began = clock()
            predicted = trees.predicted(trees.trained(parameters, training, seed), features)
            fitting += clock() - began
            by_fold.append(r2_score(actual, predicted))
        scores[canonical_json(configuration)] = np.array(by_fold)
    return Bare(1, fitting, binning, scores)


def _defaults(limits: Limits) -> dict[str, Any]:
    return {name: limit.read(None) for name, limit in limits.items()}
