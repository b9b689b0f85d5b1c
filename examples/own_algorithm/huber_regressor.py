"""Huber's regression: linear, with squared errors up to `epsilon` deviations and absolute ones beyond (Huber, 1964).

All that a family needs is here: a Trainer, the Training that it prepares, and the Predictor that comes out. The entry
point in pyproject.toml makes it known.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor
from sklearn.preprocessing import StandardScaler

from orchestrator.algorithms.base import Budget, CannotTrain, Configuration, Predictor, Resources
from orchestrator.algorithms.hyperparameters import Limit, completed, refuse
from orchestrator.algorithms.sealed import compact, malformed, parsed
from orchestrator.algorithms.training import answer, one_by_one, usable
from orchestrator.core.arrays import Floats
from schemas.base import FeatureName, Reason, Scalar
from schemas.search import Dimension, LogUniform, Uniform

LIMITS = {"epsilon": Limit(1.0, 100.0, default=1.35), "alpha": Limit(0.0, 1e6, default=1e-4)}
"""By scikit-learn's own names: deviations at which errors stop being squared; the weight of squared coefficients."""


@dataclass(frozen=True)
class HuberPredictor:
    """intercept + features @ coefficients."""

    feature_names: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def predict(self, features: Floats) -> Floats:
        """(n,) predicted returns, NaN for a row in which a feature is not finite."""
        return answer(features, len(self.coefficients), self._predict)

    def _predict(self, rows: Floats) -> Floats:
        # Column after column: a matrix product would let the rows of a batch change each other's last bits.
        predicted = np.full(len(rows), self.intercept)
        for column, coefficient in zip(rows.T, self.coefficients, strict=True):
            predicted += coefficient * column
        return predicted

    def dump(self) -> bytes:
        """JSON: loading it runs no code."""
        return compact({"algorithm": HuberTrainer.name, "version": HuberTrainer.version, **asdict(self)})


class HuberTraining:
    """The finite rows."""

    def __init__(self, features: Floats, target: Floats, feature_names: Sequence[str]) -> None:
        self._rows, self._outcome = usable(features, target)
        self._feature_names = tuple(feature_names)

    def fit(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> tuple[HuberPredictor, ...]:
        """Train on the latest `budget` percent of the rows; the minimum is the same from wherever one starts."""
        wanted = completed(HuberTrainer.name, LIMITS, configurations)
        first = len(self._rows) * (100 - (budget or 100)) // 100
        columns, outcome = StandardScaler(), StandardScaler()
        rows = columns.fit_transform(self._rows[first:])
        answers = outcome.fit_transform(self._outcome[first:, None])[:, 0]
        predictors = []
        for number, parameters in enumerate(wanted):
            model = _fit(parameters, rows, answers, f"configurations[{number}]")
            coefficients = model.coef_ * outcome.scale_ / columns.scale_
            intercept = model.intercept_ * outcome.scale_ + outcome.mean_ - coefficients @ columns.mean_
            predictors.append(HuberPredictor(self._feature_names, tuple(coefficients.tolist()), intercept.item()))
        return tuple(predictors)


def _fit(parameters: dict[str, float], rows: Floats, answers: Floats, where: str) -> HuberRegressor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            return HuberRegressor(max_iter=1000, **parameters).fit(rows, answers)
    except (ValueError, ConvergenceWarning) as error:
        message = f"Raise epsilon or alpha: {error}"[:4096]
        raise CannotTrain([Reason(code="not_converged", where=where, message=message)]) from error


class HuberTrainer:
    """The family, as requests and the registry know it."""

    name: ClassVar[str] = "huber_regressor"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=1.0)
    budget: ClassVar[Budget] = Budget("percent_of_rows", full=100, accumulates=False)
    batch: ClassVar[int] = 8
    space: ClassVar[dict[str, Dimension]] = {
        "epsilon": Uniform(kind="uniform", low=1.0, high=3.0),
        "alpha": LogUniform(kind="loguniform", low=1e-4, high=1e4),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {"epsilon": (1.1, 1.35, 2.0), "alpha": (1.0, 100.0)}

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration."""
        return refuse(self.name, LIMITS, configuration)

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> HuberTraining:
        """Standardise the finite rows; nothing is random."""
        return HuberTraining(features, target, feature_names)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions, each predictor's own."""
        return one_by_one(predictors, features)

    def load(self, dumped: bytes) -> HuberPredictor:
        """The predictor that `HuberPredictor.dump` wrote."""
        stored = parsed(_Stored, dumped)
        if len(stored.coefficients) != len(stored.feature_names):
            raise malformed("coefficients", "Give one coefficient for each feature.")
        return HuberPredictor(stored.feature_names, stored.coefficients, stored.intercept)


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    algorithm: Literal["huber_regressor"]
    version: Literal["1"]
    feature_names: tuple[FeatureName, ...]
    coefficients: tuple[float, ...]
    intercept: float
