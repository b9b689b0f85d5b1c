"""Gradient-boosted trees of XGBoost (Chen and Guestrin, 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import xgboost

from orchestrator.algorithms.accumulating import N_ESTIMATORS, ROUNDS, AccumulatingTraining
from orchestrator.algorithms.base import Budget, Configuration, Predictor, Resources
from orchestrator.algorithms.hyperparameters import Limit, refuse
from orchestrator.algorithms.sealed import Label, malformed, seal, unseal
from orchestrator.algorithms.training import Rows, answer, one_by_one, usable
from orchestrator.core.arrays import Floats
from schemas.base import Reason, Scalar
from schemas.search import Dimension, IntegerRange, LogUniform, Uniform

LIMITS = {
    "learning_rate": Limit(1e-4, 1.0, default=0.05),
    "max_depth": Limit(1, 12, whole=True, default=3),
    "min_child_weight": Limit(0.0, 1e6, default=20.0),
    "subsample": Limit(0.05, 1.0, default=0.8),
    "colsample_bytree": Limit(0.05, 1.0, default=0.8),
    "reg_lambda": Limit(0.0, 1e6, default=1.0),
    "n_estimators": N_ESTIMATORS,
}
"""By XGBoost's own names. `min_child_weight` counts rows."""
BINS = 64
"""Of each feature. It is no hyper-parameter, so that rows are binned once for all configurations."""
UNIT = 1e-4
"""Of the target in training, a basis point: XGBoost makes no split that gains less than 1e-6, as squared returns do."""
UBJ = b"{L"
"""What a model in UBJ begins with; XGBoost takes other formats, too, and aborts on an empty one."""
SETTINGS = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "device": "cpu",
    "max_bin": BINS,
    "verbosity": 0,
}


@dataclass(frozen=True, eq=False)
class XGBoostPredictor:
    """A booster whose predictions are in `UNIT`s; features are read in single precision."""

    feature_names: tuple[str, ...]
    booster: xgboost.Booster

    @property
    def spent(self) -> int:
        """Rounds."""
        return int(self.booster.num_boosted_rounds())

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        Raises:
            ValueError: `features` has another number of columns.
        """
        return answer(features, len(self.feature_names), self._predict, np.float32)

    def _predict(self, rows: Rows) -> Floats:
        predicted = self.booster.inplace_predict(rows, validate_features=False)
        return np.asarray(predicted, dtype=np.float64) * UNIT

    def dump(self) -> bytes:
        """A label, and XGBoost's own UBJ."""
        label = _Label(algorithm="xgboost_regressor", version="1", feature_names=self.feature_names)
        return seal(label, bytes(self.booster.save_raw("ubj")))


class XGBoostTrainer:
    """Trains on rows binned once; one configuration a thread, or more threads where there are fewer configurations.

    XGBoost does not promise that the number of threads changes no bit. It adds up single precision in double, so that
    none has been seen to, and the tests compare models to the last bit.
    """

    name: ClassVar[str] = "xgboost_regressor"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=2.0, gpus=0.5)
    budget: ClassVar[Budget] = ROUNDS
    batch: ClassVar[int] = 4
    # Next returns are nearly all noise: shallow trees, leaves of many rows, small steps.
    space: ClassVar[dict[str, Dimension]] = {
        "learning_rate": LogUniform(kind="loguniform", low=0.005, high=0.3),
        "max_depth": IntegerRange(kind="integer", low=1, high=6),
        "min_child_weight": LogUniform(kind="loguniform", low=5.0, high=300.0),
        "subsample": Uniform(kind="uniform", low=0.4, high=1.0),
        "colsample_bytree": Uniform(kind="uniform", low=0.3, high=1.0),
        "reg_lambda": LogUniform(kind="loguniform", low=0.1, high=1000.0),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        "learning_rate": (0.02, 0.1),
        "max_depth": (2, 4),
        "min_child_weight": (20, 100),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration; what it does not name has a default."""
        return refuse(self.name, LIMITS, configuration)

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> AccumulatingTraining[XGBoostPredictor]:
        """Bin the finite rows, as `Trainer.prepare`."""
        names = tuple(feature_names)
        rows, outcome = usable(features, target, np.float32)
        matrix = xgboost.QuantileDMatrix(
            rows, label=outcome / UNIT, max_bin=BINS, feature_names=list(names), nthread=threads
        )

        def advance(
            parameters: dict[str, float], more: int, start: XGBoostPredictor | None, share: int
        ) -> XGBoostPredictor:
            # One that goes on draws other rows and columns than the start's first rounds did.
            begun = 0 if start is None else start.spent
            settings = {**SETTINGS, **parameters, "seed": seed + begun, "nthread": share}
            booster = xgboost.Booster(settings, [matrix], model_file=None if start is None else start.booster)
            for number in range(begun, begun + more):
                booster.update(matrix, number)
            return XGBoostPredictor(names, _at_rest(booster.reset()))

        return AccumulatingTraining(self.name, LIMITS, ROUNDS.full, XGBoostPredictor, names, threads, advance)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions, as `Trainer.predictions`."""
        return one_by_one(predictors, features)

    def load(self, dumped: bytes) -> XGBoostPredictor:
        """The predictor that `XGBoostPredictor.dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are something else.
        """
        label, body = unseal(_Label, dumped)
        if not body.startswith(UBJ):
            raise malformed("", "XGBoost does not read it: its model is not in UBJ.")
        try:
            booster = xgboost.Booster(model_file=bytearray(body))
        except xgboost.core.XGBoostError as error:
            raise malformed("", f"XGBoost does not read it: {error}") from error
        if booster.feature_names != list(label.feature_names):
            raise malformed("feature_names", f"The label names other features than the model: {booster.feature_names}.")
        return XGBoostPredictor(label.feature_names, _at_rest(booster))


def _at_rest(booster: xgboost.Booster) -> xgboost.Booster:
    """Ready to predict in one thread: to wake others takes longer than a batch of ticks."""
    booster.set_param({"nthread": 1, "verbosity": 0})
    return booster


class _Label(Label):
    algorithm: Literal["xgboost_regressor"]
    version: Literal["1"]
