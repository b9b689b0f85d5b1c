"""Every strategy with every algorithm, small: what their requests say."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.algorithms.base import registered
from orchestrator.core.admission import STRATEGY_FIELDS

SIZES: Mapping[str, Mapping[str, Any]] = {
    "grid": {},
    "random": {"num_samples": 2},
    "asha": {"num_samples": 3, "search_alg": "optuna"},
    "bayesian": {"num_samples": 3},
    "pbt": {"population_size": 4, "num_generations": 2},
    "multi_ticker_pbt": {"population_size": 4, "num_generations": 2},
}
TRIALS = {"grid": 2, "random": 2, "asha": 3, "bayesian": 3, "pbt": 5, "multi_ticker_pbt": 5}
"""On one ticker, or on all of them together."""
GRIDS: Mapping[str, Mapping[str, Any]] = {
    "elasticnet": {"alpha": [0.001, 0.01], "l1_ratio": [0.5]},
    "lightgbm_regressor": {"learning_rate": [0.05, 0.1], "num_leaves": [4], "min_child_samples": [20]},
    "lstm": {"hidden_units": [4], "learning_rate": [0.003, 0.01], "dropout": [0.0], "weight_decay": [0.001]},
    "random_forest_regressor": {"max_depth": [2, 3], "min_samples_leaf": [20], "max_features": [0.5]},
    "xgboost_regressor": {"learning_rate": [0.05, 0.1], "max_depth": [2], "min_child_weight": [20]},
}
SPACES: Mapping[str, Mapping[str, Any]] = {
    # Leaves that a few hundred rows can fill.
    "random_forest_regressor": {
        "max_depth": {"kind": "integer", "low": 2, "high": 4},
        "min_samples_leaf": {"kind": "integer", "low": 2, "high": 10},
        "max_features": {"kind": "uniform", "low": 0.3, "high": 1.0},
    },
    # One size of network, so that it is compiled once.
    "lstm": {
        "hidden_units": {"kind": "choice", "values": [4]},
        "learning_rate": {"kind": "loguniform", "low": 0.001, "high": 0.01},
        "dropout": {"kind": "uniform", "low": 0.0, "high": 0.3},
        "weight_decay": {"kind": "loguniform", "low": 0.0001, "high": 0.01},
    },
}
COMBINATIONS = [(strategy, algorithm) for strategy in STRATEGY_FIELDS for algorithm in registered()]


def asked(strategy: str, algorithm: str, tickers: Sequence[str]) -> dict[str, Any]:
    """The fields of a request; only a multi-ticker search has more than the first ticker."""
    fields: dict[str, Any] = {
        "name": f"{strategy}-{algorithm}",
        "strategy": strategy,
        "algorithm": algorithm,
        "tickers": list(tickers if strategy == "multi_ticker_pbt" else tickers[:1]),
        **SIZES[strategy],
    }
    if strategy == "grid":
        return fields | {"param_grid": GRIDS[algorithm]}
    return fields | ({"space": SPACES[algorithm]} if algorithm in SPACES else {})
