"""What a model family must offer to be searched over and served, and where families are found."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from orchestrator.core.arrays import Floats
from orchestrator.core.errors import Refused
from orchestrator.core.splits import Fold
from schemas.base import Reason, Scalar

ENTRY_POINTS = "ray_orchestrator.algorithms"
"""The entry point group in which a package offers a `Trainer` class; the entry point's name is the trainer's."""

Configuration = Mapping[str, Scalar]


class UnknownAlgorithm(Refused):
    """No installed package offers the algorithm."""


class CannotTrain(Refused):
    """The configurations cannot be trained on these rows; each reason's `where` names one."""


class MalformedModel(Refused):
    """The bytes are not a model of this algorithm."""


def quoted(text: str) -> str:
    """Foreign text as a reason's `where`: escaped where unprintable, cut to what fits."""
    return ascii(text)[1:-1][:256]


class Predictor(Protocol):
    """A trained model."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of `predict`'s matrix, in order."""
        ...

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row, in the target's own unit.

        Args:
            features: (n, f), columns as `feature_names`.

        Returns:
            (n,); NaN for a row in which any feature is not finite. A row's value does not depend on the rows beside it.
        """
        ...

    def dump(self) -> bytes:
        """The model without loss: the same model always gives the same bytes."""
        ...


class Trainer(Protocol):
    """A model family."""

    @property
    def name(self) -> str:
        """As requests name it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same configuration and data would give another model."""
        ...

    @property
    def default_grid(self) -> Mapping[str, tuple[Scalar, ...]]:
        """Values by hyper-parameter, for a grid search that names none."""
        ...

    @property
    def cpus(self) -> float:
        """Cores that a call of `evaluate` or `fit` uses."""
        ...

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration; empty: it can be trained."""
        ...

    def evaluate(
        self,
        configurations: Sequence[Configuration],
        features: Floats,
        target: Floats,
        folds: Sequence[Fold],
        seed: int,
    ) -> Floats:
        """Out-of-fold predictions of many configurations.

        Args:
            configurations: none of them refused.
            features: (n, f), in time order.
            target: (n,), NaN where unknown.
            folds: row numbers to train on and to predict. Training rows that are not finite are left out.
            seed: of whatever is random in training.

        Returns:
            (n_configurations, n_out_of_fold): the folds' test rows one fold after the other, NaN for a row in which a
            feature is not finite.

        Raises:
            CannotTrain: with a reason for each configuration that cannot be trained; the others can be.
        """
        ...

    def fit(
        self,
        configuration: Configuration,
        features: Floats,
        target: Floats,
        feature_names: Sequence[str],
        seed: int,
    ) -> Predictor:
        """Train one configuration on every finite row.

        Raises:
            CannotTrain: the configuration is refused, or cannot be trained on these rows.
        """
        ...

    def load(self, dumped: bytes) -> Predictor:
        """The model that `Predictor.dump` wrote.

        Raises:
            MalformedModel: the bytes are something else.
        """
        ...


def registered() -> dict[str, Trainer]:
    """Every installed algorithm by name, in the order of their names.

    Raises:
        UnknownAlgorithm: two packages offer the same name.
    """
    return {name: trainer(name) for name in sorted(_offers())}


def trainer(name: str) -> Trainer:
    """The algorithm called `name`.

    Raises:
        UnknownAlgorithm: no package offers it, or several do.
    """
    offers = _offers()
    if name not in offers:
        message = f"No installed package offers this algorithm. Choose one of: {', '.join(sorted(offers))}."
        raise UnknownAlgorithm((Reason(code="unknown_algorithm", where=quoted(name), message=message),))
    if len(offers[name]) > 1:
        message = f"Several packages offer it; keep one of: {', '.join(sorted(offers[name]))}."
        raise UnknownAlgorithm((Reason(code="ambiguous_algorithm", where=quoted(name), message=message),))
    (offer,) = offers[name].values()
    built: Trainer = offer.load()()
    return built


def _offers() -> dict[str, dict[str, EntryPoint]]:
    """What is installed, by name and by where it is found."""
    offers: dict[str, dict[str, EntryPoint]] = {}
    for offer in entry_points(group=ENTRY_POINTS):
        offers.setdefault(offer.name, {})[offer.value] = offer
    return offers
