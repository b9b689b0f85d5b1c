"""Gradient-boosted trees of LightGBM (Ke et al., 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import lightgbm
import numpy as np

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
    "num_leaves": Limit(2, 1024, whole=True, default=8),
    "min_child_samples": Limit(1, 1_000_000, whole=True, default=20),
    "subsample": Limit(0.05, 1.0, default=0.8),
    "colsample_bytree": Limit(0.05, 1.0, default=0.8),
    "reg_lambda": Limit(0.0, 1e6, default=1.0),
    "n_estimators": N_ESTIMATORS,
}
"""By the names of LightGBM's scikit-learn interface. A new share of the rows, `subsample`, is drawn for each tree."""
BINNING = {"max_bin": 63, "feature_pre_filter": False, "verbosity": -1}
"""None of it is a hyper-parameter, so that rows are binned once for all configurations."""
SETTINGS = {
    **BINNING,
    "objective": "regression",
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
}
END = "end of trees\n"
"""Of what LightGBM's text says of the model."""
SEEDS = 2**31
"""Seeds are below it."""


@dataclass(frozen=True, eq=False)
class LightGBMPredictor:
    """A booster in the target's own unit."""

    feature_names: tuple[str, ...]
    booster: lightgbm.Booster

    @property
    def spent(self) -> int:
        """Rounds, without those in which nothing could be split."""
        return int(self.booster.current_iteration())

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        Raises:
            ValueError: `features` has another number of columns.
        """
        return answer(features, len(self.feature_names), self._predict)

    def _predict(self, rows: Rows) -> Floats:
        # In one thread: to wake others takes longer than a batch of ticks.
        return np.asarray(self.booster.predict(rows, num_threads=1), dtype=np.float64)

    def dump(self) -> bytes:
        """A label, and LightGBM's own text up to the last tree: how it was trained does not belong to the model."""
        text = "".join(self.booster.model_to_string().partition(END)[:2])
        label = _Label(algorithm="lightgbm_regressor", version="1", feature_names=self.feature_names)
        return seal(label, text.encode("ascii"))


class LightGBMTrainer:
    """Trains on rows binned once; one configuration a thread, or more threads where there are fewer configurations."""

    name: ClassVar[str] = "lightgbm_regressor"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=1.0)
    budget: ClassVar[Budget] = ROUNDS
    batch: ClassVar[int] = 4
    # Next returns are nearly all noise: few leaves of many rows, small steps.
    space: ClassVar[dict[str, Dimension]] = {
        "learning_rate": LogUniform(kind="loguniform", low=0.005, high=0.3),
        "num_leaves": IntegerRange(kind="integer", low=2, high=32, log=True),
        "min_child_samples": IntegerRange(kind="integer", low=5, high=300, log=True),
        "subsample": Uniform(kind="uniform", low=0.4, high=1.0),
        "colsample_bytree": Uniform(kind="uniform", low=0.3, high=1.0),
        "reg_lambda": LogUniform(kind="loguniform", low=0.1, high=1000.0),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        "learning_rate": (0.02, 0.1),
        "num_leaves": (4, 12),
        "min_child_samples": (20, 100),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration; what it does not name has a default."""
        return refuse(self.name, LIMITS, configuration)

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> AccumulatingTraining[LightGBMPredictor]:
        """Bin the finite rows, as `Trainer.prepare`."""
        names = tuple(feature_names)
        rows, outcome = usable(features, target)
        # Raw rows are kept: what a start predicts of them is where boosting goes on.
        dataset = lightgbm.Dataset(
            rows,
            label=outcome,
            feature_name=list(names),
            params={**BINNING, "num_threads": threads},
            free_raw_data=False,
        ).construct()

        def advance(
            parameters: dict[str, float], more: int, start: LightGBMPredictor | None, share: int
        ) -> LightGBMPredictor:
            # What a start predicts is kept in the binned rows, so that one that goes on needs its own.
            own = dataset if start is None else dataset.subset(list(range(len(rows))))
            # One that goes on draws other rows and columns than the start's first rounds did.
            begun = 0 if start is None else start.spent
            booster = lightgbm.train(
                {**SETTINGS, **parameters, "seed": (seed + begun) % SEEDS, "num_threads": share},
                own,
                num_boost_round=more,
                init_model=None if start is None else start.booster,
            )
            return LightGBMPredictor(names, booster)

        return AccumulatingTraining(self.name, LIMITS, ROUNDS.full, LightGBMPredictor, names, threads, advance)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions, as `Trainer.predictions`."""
        return one_by_one(predictors, features)

    def load(self, dumped: bytes) -> LightGBMPredictor:
        """The predictor that `LightGBMPredictor.dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are something else.
        """
        label, body = unseal(_Label, dumped)
        try:
            booster = lightgbm.Booster(model_str=body.decode("ascii"))
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise malformed("", f"LightGBM does not read it: {error}") from error
        if booster.feature_name() != list(label.feature_names):
            raise malformed(
                "feature_names", f"The label names other features than the model: {booster.feature_name()}."
            )
        return LightGBMPredictor(label.feature_names, booster)


class _Label(Label):
    algorithm: Literal["lightgbm_regressor"]
    version: Literal["1"]
