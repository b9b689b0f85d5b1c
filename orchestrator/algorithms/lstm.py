"""Recurrent networks with long short-term memory, over the lags that the features carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from orchestrator.algorithms.accumulating import AccumulatingTraining
from orchestrator.algorithms.base import Budget, CannotTrain, Configuration, Predictor, Resources
from orchestrator.algorithms.hyperparameters import Limit, refuse
from orchestrator.algorithms.moments import Moments
from orchestrator.algorithms.recurrent import (
    Product,
    Weights,
    descend,
    forward,
    fresh,
    grafted,
    layout,
    libraries,
    missing,
    row_by_row,
    sequence,
)
from orchestrator.algorithms.sealed import Label, Layout, malformed, pack, seal, unpack, unseal
from orchestrator.algorithms.training import Rows, answer, usable
from orchestrator.core.arrays import Floats
from schemas.base import Reason, Scalar
from schemas.search import Choice, Dimension, LogUniform, Uniform

LIMITS = {
    "hidden_units": Limit(1, 256, whole=True, default=16),
    "learning_rate": Limit(1e-6, 0.5, default=0.003),
    "dropout": Limit(0.0, 0.9, default=0.1),
    "weight_decay": Limit(0.0, 10.0, default=0.001),
}
"""Units, and the optimiser's step, in those of standardised features and target; the share of the units that are left
out in training; the weights' decay, as a share of the step."""


@dataclass(frozen=True, eq=False)
class LSTMPredictor:
    """A network, and the scales of the rows that it was trained on."""

    feature_names: tuple[str, ...]
    mean: Floats
    """(f,)"""
    deviation: Floats
    """(f,), above 0."""
    target_mean: float
    target_deviation: float
    weights: Weights
    spent: int
    """Epochs."""

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        Raises:
            ValueError: `features` has another number of columns.
        """
        return self.predict_by(features, row_by_row)

    def predict_by(self, features: Floats, product: Product) -> Floats:
        """The same by another matrix product: a faster one may let rows change each other's last bits."""

        def of(rows: Rows) -> Floats:
            seen = ((rows - self.mean) / self.deviation)[:, self._sequence]
            return self.target_mean + self.target_deviation * forward(self.weights, seen, product)

        return answer(features, len(self.feature_names), of)

    def dump(self) -> bytes:
        """A label, and the arrays: scales in double, weights in single precision."""
        hidden = len(self.weights["head"])
        arrays: dict[str, NDArray[Any]] = {"mean": self.mean, "deviation": self.deviation, **self.weights}
        label = _Label(
            algorithm="lstm",
            version="1",
            feature_names=self.feature_names,
            hidden_units=hidden,
            epochs=self.spent,
            target_mean=self.target_mean,
            target_deviation=self.target_deviation,
        )
        return seal(label, pack(_layout(self.feature_names, hidden), arrays))

    @cached_property
    def _sequence(self) -> NDArray[np.int64]:
        return sequence(self.feature_names)


class LSTMTrainer:
    """Trains on standardised sequences, one configuration after the other."""

    name: ClassVar[str] = "lstm"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=4.0, gpus=1.0)
    budget: ClassVar[Budget] = Budget("epochs", full=60, accumulates=True)
    batch: ClassVar[int] = 1
    # Each number of hidden units is compiled by itself: few of them.
    space: ClassVar[dict[str, Dimension]] = {
        "hidden_units": Choice(kind="choice", values=(4, 8, 16, 32, 64)),
        "learning_rate": LogUniform(kind="loguniform", low=0.0003, high=0.03),
        "dropout": Uniform(kind="uniform", low=0.0, high=0.5),
        "weight_decay": LogUniform(kind="loguniform", low=1e-5, high=0.1),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        "hidden_units": (8, 32),
        "learning_rate": (0.001, 0.01),
        "dropout": (0.0, 0.3),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration, and with an installation that lacks what trains it."""
        return (*refuse(self.name, LIMITS, configuration), *missing())

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> AccumulatingTraining[LSTMPredictor]:
        """Standardise the finite rows and lay them out as sequences, as `Trainer.prepare`; `threads` changes nothing.

        Features named `x.lag1`, `x.lag2` and so on are earlier steps of `x`: `recurrent.sequence` says how.
        """
        libraries()
        names = tuple(feature_names)
        rows, outcome = usable(features, target)
        moments = Moments.of(rows, outcome)
        deviation, _ = moments.standardised()
        columns = sequence(names)
        seen = ((rows - moments.mean[:-1]) / deviation[:-1])[:, columns]
        wanted = (outcome - moments.mean[-1]) / deviation[-1]

        def advance(parameters: dict[str, float], more: int, start: LSTMPredictor | None, share: int) -> LSTMPredictor:
            weights = fresh(columns.shape[1], int(parameters.pop("hidden_units")), np.random.default_rng(seed))
            spent = 0 if start is None else start.spent
            weights = descend(
                weights if start is None else grafted(start.weights, weights),
                seen,
                wanted,
                range(spent, spent + more),
                seed=seed,
                **parameters,
            )
            if not all(np.isfinite(values).all() for values in weights.values()):
                message = "Its weights grew beyond all bounds; lower learning_rate."
                raise CannotTrain([Reason(code="not_converged", message=message)])
            return LSTMPredictor(
                feature_names=names,
                mean=moments.mean[:-1],
                deviation=deviation[:-1],
                target_mean=float(moments.mean[-1]),
                # Of a target that is constant, nothing but the mean is to be said.
                target_deviation=float(deviation[-1]) if moments.low[-1] < moments.high[-1] else 0.0,
                weights=weights,
                spent=spent + more,
            )

        return AccumulatingTraining(self.name, LIMITS, self.budget.full, LSTMPredictor, names, 1, advance)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions by whole matrix products, as `Trainer.predictions`."""
        own = cast(Sequence[LSTMPredictor], predictors)
        return np.array([each.predict_by(features, np.matmul) for each in own]).reshape(len(own), len(features))

    def load(self, dumped: bytes) -> LSTMPredictor:
        """The predictor that `LSTMPredictor.dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are something else.
        """
        label, body = unseal(_Label, dumped)
        arrays = unpack(_layout(label.feature_names, label.hidden_units), body)
        unsound = [name for name, values in arrays.items() if not np.isfinite(values).all()]
        if unsound or not (arrays["deviation"] > 0.0).all():
            raise malformed((*unsound, "deviation")[0], "Weights must be finite, and deviations above 0.")
        return LSTMPredictor(
            feature_names=label.feature_names,
            mean=arrays.pop("mean"),
            deviation=arrays.pop("deviation"),
            target_mean=label.target_mean,
            target_deviation=label.target_deviation,
            weights=arrays,
            spent=label.epochs,
        )


def _layout(feature_names: Sequence[str], hidden: int) -> Layout:
    scales: Layout = {name: ("<f8", (len(feature_names),)) for name in ("mean", "deviation")}
    return {**scales, **layout(sequence(feature_names).shape[1], hidden)}


class _Label(Label):
    algorithm: Literal["lstm"]
    version: Literal["1"]
    hidden_units: Annotated[int, Field(ge=1, le=4096)]
    epochs: Annotated[int, Field(ge=0)]
    target_mean: float
    target_deviation: Annotated[float, Field(ge=0)]
