"""Elastic net: linear regression that shrinks and selects features (Zou and Hastie, 2005)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from sklearn.preprocessing import StandardScaler

from orchestrator.algorithms.base import CannotTrain, Configuration, MalformedModel, quoted
from orchestrator.algorithms.penalised import Penalty, solve
from orchestrator.core.arrays import Floats
from orchestrator.core.splits import Fold
from schemas.base import FeatureName, Reason, Scalar

LIMITS = {"alpha": (1e-6, 100.0), "l1_ratio": (0.0, 1.0)}
"""Smallest and largest value of each hyper-parameter, both included.

alpha is in units of the target's standard deviation over the training rows, since features and target are standardised:
a feature whose correlation with the target is below alpha * l1_ratio gets no coefficient by itself.
"""


@dataclass(frozen=True)
class ElasticNetPredictor:
    """intercept + features @ coefficients, in the features' and the target's own units."""

    feature_names: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        Raises:
            ValueError: `features` has another number of columns.
        """
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise ValueError(f"features must be (n, {len(self.feature_names)}), not {features.shape}")
        predicted = np.full(len(features), self.intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            # Feature after feature, not one matrix product: the bits of a row's prediction must not depend on which
            # rows share its batch.
            for column, coefficient in zip(features.T, self.coefficients, strict=True):
                predicted += coefficient * column
        return np.where(np.isfinite(predicted), predicted, np.nan)

    def dump(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, shortest digits that give the same bits back)."""
        stored = {
            "algorithm": ElasticNetTrainer.name,
            "version": ElasticNetTrainer.version,
            "feature_names": self.feature_names,
            "coefficients": self.coefficients,
            "intercept": self.intercept,
        }
        return json.dumps(stored, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")

    @classmethod
    def load(cls, dumped: bytes) -> "ElasticNetPredictor":
        """The predictor that `dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are not such JSON; one reason for each fault.
        """
        try:
            stored = _Stored.model_validate_json(dumped)
        except ValidationError as error:
            raise MalformedModel(
                tuple(
                    Reason(code="malformed_model", where=quoted(".".join(map(str, fault["loc"]))), message=fault["msg"])
                    for fault in error.errors()
                )
            ) from error
        return cls(stored.feature_names, stored.coefficients, stored.intercept)


class ElasticNetTrainer:
    """Trains elastic nets on standardised features and target."""

    name: ClassVar[str] = "elasticnet"
    version: ClassVar[str] = "1"
    cpus: ClassVar[float] = 1.0
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        # Features of daily equity bars correlate with the next return by 0.02 to 0.05: above alpha * l1_ratio = 0.05
        # hardly any is left, and below alpha = 0.001 nothing is shrunk.
        "alpha": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
        "l1_ratio": (0.1, 0.5, 0.9),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration: parameters unknown, missing, no numbers or out of range."""
        reasons = [
            Reason(code="unknown_parameter", where=quoted(name), message=f"elasticnet has: {', '.join(LIMITS)}.")
            for name in sorted(set(configuration) - set(LIMITS))
        ]
        for name, (low, high) in LIMITS.items():
            if name not in configuration:
                reasons.append(Reason(code="missing_parameter", where=name, message=f"Give {low:g} to {high:g}."))
                continue
            value = configuration[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                reasons.append(Reason(code="parameter_not_a_number", where=name, message=f"Give {low:g} to {high:g}."))
            elif not low <= value <= high:
                message = f"{value:g} is out of range: give {low:g} to {high:g}."
                reasons.append(Reason(code="parameter_out_of_range", where=name, message=message))
        return tuple(reasons)

    def evaluate(
        self,
        configurations: Sequence[Configuration],
        features: Floats,
        target: Floats,
        folds: Sequence[Fold],
        seed: int,
    ) -> Floats:
        """Out-of-fold predictions, as `Trainer.evaluate`; nothing is random, so that `seed` changes nothing.

        Features and target are standardised by the training rows of each fold. Which other configurations share the
        call changes no more than a prediction's last digits.
        """
        penalties = self._penalties(configurations)
        trained = [self._train(penalties, features[fold.train], target[fold.train]) for fold in folds]
        predicted = [model.predict(features[fold.test]) for model, fold in zip(trained, folds, strict=True)]
        return np.concatenate(predicted, axis=1) if predicted else np.empty((len(penalties), 0))

    def fit(
        self,
        configuration: Configuration,
        features: Floats,
        target: Floats,
        feature_names: Sequence[str],
        seed: int,
    ) -> ElasticNetPredictor:
        """Train on every finite row, as `Trainer.fit`; nothing is random, so that `seed` changes nothing."""
        trained = self._train(self._penalties([configuration]), features, target)
        return ElasticNetPredictor(
            tuple(feature_names), tuple(trained.coefficients[0].tolist()), float(trained.intercepts[0])
        )

    def load(self, dumped: bytes) -> ElasticNetPredictor:
        """The predictor that `ElasticNetPredictor.dump` wrote."""
        return ElasticNetPredictor.load(dumped)

    def _penalties(self, configurations: Sequence[Configuration]) -> list[Penalty]:
        faults = [
            reason.model_copy(update={"where": quoted(f"configurations[{row}].{reason.where}")})
            for row, configuration in enumerate(configurations)
            for reason in self.refuse(configuration)
        ]
        if faults:
            raise CannotTrain(faults)
        return [Penalty(float(c["alpha"]), float(c["l1_ratio"])) for c in configurations]

    def _train(self, penalties: Sequence[Penalty], features: Floats, target: Floats) -> "_Trained":
        known = np.isfinite(target) & np.isfinite(features).all(axis=1)
        if np.count_nonzero(known) < 2:
            message = f"{len(target)} training rows hold {np.count_nonzero(known)} that are finite; 2 are the least."
            raise CannotTrain([Reason(code="too_few_rows", message=message)])
        columns = StandardScaler().fit(features[known])
        outcome = StandardScaler().fit(target[known, None])
        coefficients, astray = solve(
            columns.transform(features[known]), outcome.transform(target[known, None])[:, 0], penalties
        )
        if astray:
            message = "No coefficients were found; raise alpha, or leave out features that repeat others."
            raise CannotTrain(
                Reason(code="not_converged", where=f"configurations[{row}]", message=message) for row in astray
            )
        # A column that is constant up to rounding has a variance of rounding errors, and nothing to say.
        constant = np.ptp(features[known], axis=0) == 0.0
        coefficients = np.where(constant, 0.0, coefficients * (outcome.scale_ / columns.scale_))
        return _Trained(coefficients, outcome.mean_ - coefficients @ columns.mean_)


@dataclass(frozen=True)
class _Trained:
    """Models of one training set in the data's own units: `coefficients` (k, f), `intercepts` (k,)."""

    coefficients: Floats
    intercepts: Floats

    def predict(self, features: Floats) -> Floats:
        """(k, n), NaN for a row of `features` (n, f) that is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = self.intercepts[:, None] + self.coefficients @ features.T
        return np.where(np.isfinite(features).all(axis=1), predicted, np.nan)


class _Stored(BaseModel):
    """The JSON of a predictor."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    algorithm: Literal["elasticnet"]
    version: Literal["1"]
    feature_names: tuple[FeatureName, ...]
    coefficients: tuple[float, ...]
    intercept: float

    @model_validator(mode="after")
    def _one_coefficient_each(self) -> Self:
        if len(self.coefficients) != len(self.feature_names):
            raise ValueError(f"{len(self.feature_names)} features have {len(self.coefficients)} coefficients")
        if len(set(self.feature_names)) != len(self.feature_names):
            raise ValueError("a feature is named twice")
        return self
