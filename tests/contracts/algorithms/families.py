"""The families that the contract holds for, and small rows for them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.algorithms.base import Configuration, Predictor, Trainer, trainer
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.algorithms.lightgbm_regressor import LightGBMTrainer
from orchestrator.algorithms.lstm import LSTMTrainer
from orchestrator.algorithms.random_forest_regressor import RandomForestTrainer
from orchestrator.algorithms.xgboost_regressor import XGBoostTrainer
from orchestrator.core.arrays import Floats

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_algorithm"
NAMES = ("momentum", "momentum.lag1", "noise", "other")
Refusals = dict[str, tuple[Configuration, tuple[str, str]]]


@dataclass(frozen=True)
class Family:
    """What the contract needs to know of a family; how it is asked for is the same for all."""

    trainer: type[Any] | str
    """A name: it is looked up among what is installed."""
    good: tuple[Configuration, ...]
    bad: Refusals
    """By what is the matter: a configuration, and the code and the place of the only reason."""
    random: bool = False

    def build(self) -> Trainer:
        """A trainer."""
        built: Trainer = trainer(self.trainer) if isinstance(self.trainer, str) else self.trainer()
        return built


def boosted(leaves: str, rows: str) -> Family:
    """A family of boosted trees: its names of the size of a tree and of the rows in a leaf."""
    own = {"xgboost_regressor": XGBoostTrainer, "lightgbm_regressor": LightGBMTrainer}
    return Family(
        trainer=own["xgboost_regressor" if leaves == "max_depth" else "lightgbm_regressor"],
        good=(
            {"learning_rate": 0.1, leaves: 3, rows: 5, "subsample": 0.7, "colsample_bytree": 0.6},
            {"learning_rate": 0.3, leaves: 2, "reg_lambda": 10.0},
            {"n_estimators": 20},
        ),
        bad={
            "unknown": ({"depth": 3}, ("unknown_parameter", "depth")),
            "out of range": ({"learning_rate": 0.0}, ("parameter_out_of_range", "learning_rate")),
            "not whole": ({leaves: 2.5}, ("parameter_not_whole", leaves)),
            "not a number": ({"subsample": "half"}, ("parameter_not_a_number", "subsample")),
            "true": ({"n_estimators": True}, ("parameter_not_a_number", "n_estimators")),
        },
        random=True,
    )


FAMILIES = {
    "elasticnet": Family(
        trainer=ElasticNetTrainer,
        good=(
            {"alpha": 0.01, "l1_ratio": 0.5},
            {"alpha": 0.001, "l1_ratio": 0},
            {"alpha": 1, "l1_ratio": 1.0},
        ),
        bad={
            "unknown": ({"alpha": 0.01, "l1_ratio": 0.5, "depth": 3}, ("unknown_parameter", "depth")),
            "missing": ({"alpha": 0.01}, ("missing_parameter", "l1_ratio")),
            "out of range": ({"alpha": 0.0, "l1_ratio": 0.5}, ("parameter_out_of_range", "alpha")),
            "not a number": ({"alpha": 0.01, "l1_ratio": float("nan")}, ("parameter_not_a_number", "l1_ratio")),
        },
    ),
    "xgboost_regressor": boosted("max_depth", "min_child_weight"),
    "lightgbm_regressor": boosted("num_leaves", "min_child_samples"),
    "random_forest_regressor": Family(
        trainer=RandomForestTrainer,
        good=(
            {"max_depth": 3, "min_samples_leaf": 5, "max_features": 0.5, "max_samples": 0.5},
            {"max_depth": 2},
            {"n_estimators": 20},
        ),
        bad={
            "unknown": ({"num_leaves": 3}, ("unknown_parameter", "num_leaves")),
            "out of range": ({"max_features": 1.5}, ("parameter_out_of_range", "max_features")),
            "not whole": ({"max_depth": 2.5}, ("parameter_not_whole", "max_depth")),
            "not a number": ({"min_samples_leaf": "few"}, ("parameter_not_a_number", "min_samples_leaf")),
        },
        random=True,
    ),
    "lstm": Family(
        trainer=LSTMTrainer,
        good=(
            {"hidden_units": 4, "learning_rate": 0.01, "dropout": 0.2},
            {"hidden_units": 8, "weight_decay": 0.1},
            {"hidden_units": 4, "learning_rate": 0.001, "dropout": 0},
        ),
        bad={
            "unknown": ({"depth": 3}, ("unknown_parameter", "depth")),
            "out of range": ({"dropout": 1.0}, ("parameter_out_of_range", "dropout")),
            "not whole": ({"hidden_units": 2.5}, ("parameter_not_whole", "hidden_units")),
            "not a number": ({"learning_rate": "fast"}, ("parameter_not_a_number", "learning_rate")),
        },
        random=True,
    ),
    "huber_regressor": Family(
        trainer="huber_regressor",
        good=({"epsilon": 1.1, "alpha": 10.0}, {"epsilon": 2}, {}),
        bad={
            "unknown": ({"l1_ratio": 0.5}, ("unknown_parameter", "l1_ratio")),
            "out of range": ({"epsilon": 0.5}, ("parameter_out_of_range", "epsilon")),
            "not a number": ({"alpha": "weak"}, ("parameter_not_a_number", "alpha")),
        },
    ),
}


def rows(count: int = 240, seed: int = 1) -> tuple[Floats, Floats]:
    """Features of different sizes, and returns that the first explains in part."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=count + 1)
    features = np.column_stack([first[1:], first[:-1], rng.normal(5.0, 1e-3, count), rng.normal(-3.0, 1e3, count)])
    target = 0.01 * (0.5 * first[1:] - 0.3 * first[:-1] + rng.normal(size=count))
    return features, target


def fit(
    family: Trainer,
    configurations: Sequence[Configuration],
    *,
    seed: int = 3,
    threads: int = 1,
    budget: int | None = 6,
    starts: Sequence[Predictor | None] | None = None,
    count: int = 240,
) -> tuple[Predictor, ...]:
    """Train on `rows`: a few rounds or epochs, or all of the rows."""
    features, target = rows(count)
    training = family.prepare(features, target, NAMES, seed=seed, threads=threads)
    return training.fit(configurations, budget=budget if family.budget.accumulates else None, starts=starts)


def install(directory: Path) -> None:
    """Lay the example's package out as an installer does."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    distribution = directory / f"{name}-{version}.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (distribution / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    for module in EXAMPLE.glob("*.py"):
        (directory / module.name).write_text(module.read_text())
