"""Elastic net: linear regression that shrinks and selects features (Zou and Hastie, 2005)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar, Literal, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from orchestrator.algorithms.base import Budget, CannotTrain, Configuration, Predictor, Resources
from orchestrator.algorithms.hyperparameters import Limit, completed, refuse
from orchestrator.algorithms.moments import Moments
from orchestrator.algorithms.penalised import Penalty, solve
from orchestrator.algorithms.sealed import compact, parsed
from orchestrator.algorithms.training import Rows, answer, usable
from orchestrator.core.arrays import Floats
from schemas.base import FeatureName, Reason, Scalar
from schemas.search import Dimension, LogUniform, Uniform

LIMITS = {"alpha": Limit(1e-6, 100.0), "l1_ratio": Limit(0.0, 1.0)}
"""alpha is in units of the target's standard deviation over the training rows, since features and target are
standardised: a feature whose correlation with the target is below alpha * l1_ratio gets no coefficient by itself.
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
        return answer(features, len(self.feature_names), self._predict)

    def _predict(self, rows: Rows) -> Floats:
        terms = np.empty((len(self.coefficients) + 1, len(rows)))
        terms[0] = self.intercept
        np.multiply(rows.T, self._column, out=terms[1:])
        # Feature after feature, neither one matrix product nor one sum: the bits of a row's prediction must not depend
        # on which rows share its batch.
        predicted: Floats = np.add.accumulate(terms, axis=0)[-1]
        return predicted

    @cached_property
    def _column(self) -> Floats:
        return np.array(self.coefficients).reshape(-1, 1)

    def dump(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, shortest digits that give the same bits back)."""
        return compact(
            {
                "algorithm": ElasticNetTrainer.name,
                "version": ElasticNetTrainer.version,
                "feature_names": self.feature_names,
                "coefficients": self.coefficients,
                "intercept": self.intercept,
            }
        )

    @classmethod
    def load(cls, dumped: bytes) -> "ElasticNetPredictor":
        """The predictor that `dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are not such JSON; one reason for each fault.
        """
        stored = parsed(_Stored, dumped)
        return cls(stored.feature_names, stored.coefficients, stored.intercept)


class ElasticNetTraining:
    """A training set as its moments, which are taken once for each share of the rows.

    Args:
        moments: of the features and, as the last column, the target, over the latest so many percent of the rows.
        feature_names: of the features.
    """

    def __init__(self, moments: Callable[[int], Moments], feature_names: Sequence[str]) -> None:
        self._moments = cache(moments)
        self._feature_names = tuple(feature_names)

    def fit(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> tuple[ElasticNetPredictor, ...]:
        """Train on the latest `budget` percent of the rows, as `Training.fit`.

        A solution is exact and nothing is random: neither starts nor the seed change anything.

        Raises:
            CannotTrain: configurations are refused, or no coefficients were found (`not_converged`).
        """
        penalties = [
            Penalty(each["alpha"], each["l1_ratio"])
            for each in completed(ElasticNetTrainer.name, LIMITS, configurations)
        ]
        moments = self._moments(ElasticNetTrainer.budget.full if budget is None else budget)
        deviation, correlation = moments.standardised()
        weights, astray = solve(correlation[:-1, :-1], correlation[:-1, -1], penalties)
        if astray:
            message = "No coefficients were found; raise alpha, or leave out features that repeat others."
            raise CannotTrain(
                Reason(code="not_converged", where=f"configurations[{row}]", message=message) for row in astray
            )
        coefficients = weights * (deviation[-1] / deviation[:-1])
        intercepts = moments.mean[-1] - (coefficients * moments.mean[:-1]).sum(axis=1)
        return tuple(
            ElasticNetPredictor(self._feature_names, tuple(row), intercept)
            for row, intercept in zip(coefficients.tolist(), intercepts.tolist(), strict=True)
        )


class ElasticNetTrainer:
    """Trains elastic nets on standardised features and target."""

    name: ClassVar[str] = "elasticnet"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=1.0)
    budget: ClassVar[Budget] = Budget("percent_of_rows", full=100, accumulates=False)
    batch: ClassVar[int] = 256
    streams: ClassVar[Literal["sufficient_statistics"]] = "sufficient_statistics"
    # Features of daily equity bars correlate with the next return by 0.02 to 0.05: above alpha * l1_ratio = 0.05
    # hardly any is left, and below alpha = 0.001 nothing is shrunk.
    space: ClassVar[dict[str, Dimension]] = {
        "alpha": LogUniform(kind="loguniform", low=0.0005, high=0.2),
        "l1_ratio": Uniform(kind="uniform", low=0.0, high=1.0),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        "alpha": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
        "l1_ratio": (0.1, 0.5, 0.9),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration: parameters unknown, missing, no numbers or out of range."""
        return refuse(self.name, LIMITS, configuration)

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> ElasticNetTraining:
        """The training set of the finite rows, as `Trainer.prepare`; `seed` and `threads` change nothing."""
        rows, outcome = usable(features, target)

        def latest(percent: int) -> Moments:
            first = len(rows) - max(1, -(-len(rows) * percent // 100))
            return Moments.of(rows[first:], outcome[first:])

        return ElasticNetTraining(latest, feature_names)

    def summarise(self, features: Floats, target: Floats) -> Moments:
        """The moments of a block of rows, as `Streaming.summarise`."""
        return Moments.of(features, target)

    def prepare_summarised(self, latest: Callable[[int], Moments], feature_names: Sequence[str]) -> ElasticNetTraining:
        """The training set with these moments, as `Streaming.prepare_summarised`."""
        return ElasticNetTraining(latest, feature_names)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions in one matrix product, as `Trainer.predictions`."""
        own = cast(Sequence[ElasticNetPredictor], predictors)
        coefficients = np.array([predictor.coefficients for predictor in own]).reshape(len(own), features.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = coefficients @ features.T
            predicted += np.array([predictor.intercept for predictor in own])[:, None]
        known = np.isfinite(predicted)
        if not known.all():
            predicted[~known] = np.nan
        return predicted

    def load(self, dumped: bytes) -> ElasticNetPredictor:
        """The predictor that `ElasticNetPredictor.dump` wrote."""
        return ElasticNetPredictor.load(dumped)


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
