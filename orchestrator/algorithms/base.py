"""What a model family must offer to be searched over and served, and where families are found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol, runtime_checkable

from orchestrator.core.arrays import Floats
from orchestrator.core.errors import Refused
from schemas.base import Reason, Scalar
from schemas.search import Dimension

ENTRY_POINTS = "ray_orchestrator.algorithms"
"""The entry point group in which a package offers a `Trainer` class; the entry point's name is the trainer's."""

Configuration = Mapping[str, Scalar]


class UnknownAlgorithm(Refused):
    """No installed package offers the algorithm."""


class CannotTrain(Refused):
    """The configurations cannot be trained on these rows; each reason's `where` names one."""


class MalformedModel(Refused):
    """The bytes are not a model of this algorithm."""


class MissingExtra(Refused):
    """The algorithm needs an optional part of this package that is not installed."""


@dataclass(frozen=True)
class Resources:
    """What one trial of a family takes while it trains."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Budget:
    """What training may spend on one configuration, in the family's own unit."""

    unit: Literal["rounds", "epochs", "percent_of_rows"]
    full: int
    """What a trial gets whose training nothing cuts short."""
    accumulates: bool
    """True: training goes on from where a predictor stands. False: it begins anew, on the latest so many percent."""


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


class Training(Protocol):
    """One training set, prepared once (binned, standardised, multiplied out) for many configurations."""

    def fit(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> tuple[Predictor, ...]:
        """Train configurations.

        Args:
            configurations: none of them refused.
            budget: until which each is trained in all, in the family's unit: what a start has spent counts, and a start
                that has spent as much is handed back as it is. None: the full budget (trees: the configuration's own
                `n_estimators`, which an explicit budget overrides).
            starts: by configuration, a predictor of this family and these features to go on from, under the
                configuration's hyper-parameters; it stays as it is. Boosting goes on, forests grow, neural models start
                from the weights. None: from scratch.

        Returns:
            Predictors in the order of the configurations. They are the same for the same seed, whatever the number of
            threads and whatever shares the call (linear models: up to the last digits).

        Raises:
            CannotTrain: with a reason for each guilty configuration, `where` beginning with `configurations[i]`; the
                others can be trained.
        """
        ...


@runtime_checkable
class Apart(Protocol):
    """A `Training` whose configurations gain nothing from being fitted in one call: where one ends, another begins."""

    def fits(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Predictor | None] | None = None,
    ) -> Sequence[Callable[[int], Predictor]]:
        """By configuration what trains it in so many threads, as `Training.fit` would.

        Raises:
            CannotTrain: as `fit`. What a fit itself raises has no `configurations[i]` in `where`.
        """
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
    def space(self) -> Mapping[str, Dimension]:
        """Dimension by hyper-parameter, for a search that names none."""
        ...

    @property
    def default_grid(self) -> Mapping[str, tuple[Scalar, ...]]:
        """Values by hyper-parameter, for a grid search that names none."""
        ...

    @property
    def resources(self) -> Resources:
        """What a trial takes where neither the request nor a variable says otherwise."""
        ...

    @property
    def budget(self) -> Budget:
        """What training is measured in."""
        ...

    @property
    def batch(self) -> int:
        """Configurations that one call of `Training.fit` best takes."""
        ...

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration; empty: it can be trained."""
        ...

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> Training:
        """Make a training set ready.

        Args:
            features: (n, f), in time order; rows that are not finite are left out. Neither these nor the target are
                changed, and they must not change while the training set is in use.
            target: (n,), NaN where unknown.
            feature_names: of the columns.
            seed: of whatever is random in training, from 0 to 2^31 - 1.
            threads: cores that `Training.fit` may use.

        Raises:
            CannotTrain: too few rows are finite (`too_few_rows`).
            MissingExtra: a library that trains the family is not installed.
        """
        ...

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """Predicted returns of many predictors of this family and the same features at once.

        Args:
            predictors: k of them.
            features: (n, f), columns as their `feature_names`.

        Returns:
            (k, n), NaN for a row in which a feature is not finite; `Predictor.predict` of each, up to rounding.
        """
        ...

    def load(self, dumped: bytes) -> Predictor:
        """The model that `Predictor.dump` wrote. Bytes are parsed, never executed.

        Raises:
            MalformedModel: the bytes are something else.
            MissingExtra: a library that reads them is not installed.
        """
        ...


Summary = Any
"""What a family keeps of rows instead of the rows. With `+`, those of two sets of rows add up to that of both."""


@runtime_checkable
class Streaming(Protocol):
    """What a `Trainer` offers besides, whose training sets may be larger than memory."""

    @property
    def streams(self) -> Literal["sufficient_statistics"]:
        """How: each block of rows is summed up, and the sums are all that training needs."""
        ...

    def summarise(self, features: Floats, target: Floats) -> Summary:
        """A block of rows, summed up: features (n, f) and target (n,), finite, n at least 1."""
        ...

    def prepare_summarised(self, latest: Callable[[int], Summary], feature_names: Sequence[str]) -> Training:
        """Make a training set ready, as `Trainer.prepare`, of which only summaries are known.

        Args:
            latest: the summary of the latest so many percent of its rows, rounded up; what it raises, `fit` raises.
            feature_names: of the columns.
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
