"""Random forests of scikit-learn (Breiman, 2001), as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree._tree import Tree

from orchestrator.algorithms.accumulating import N_ESTIMATORS, ROUNDS, AccumulatingTraining
from orchestrator.algorithms.base import Budget, Configuration, Predictor, Resources
from orchestrator.algorithms.hyperparameters import Limit, refuse
from orchestrator.algorithms.sealed import Label, Layout, malformed, pack, seal, unpack, unseal
from orchestrator.algorithms.training import Rows, answer, one_by_one, usable
from orchestrator.core.arrays import Floats
from schemas.base import Reason, Scalar
from schemas.search import Dimension, IntegerRange, Uniform

LIMITS = {
    "max_depth": Limit(1, 64, whole=True, default=6),
    "min_samples_leaf": Limit(1, 1_000_000, whole=True, default=20),
    "max_features": Limit(0.01, 1.0, default=0.5),
    "max_samples": Limit(0.01, 1.0, default=0.8),
    "n_estimators": N_ESTIMATORS,
}
"""By scikit-learn's own names; `max_features` and `max_samples` are shares."""
AT_ONCE = 32_768
"""Places in trees that are followed at once, so that they stay in the processor's cache."""
SEEDS = np.iinfo(np.int32).max
"""scikit-learn draws a tree's seed below it."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees, one after the other, each from its root on; a node's children come after it, a leaf is its own child."""

    roots: NDArray[np.int32]
    """(t,) the root of each tree."""
    children: NDArray[np.int32]
    """(n, 2) where a row goes whose feature is at most the threshold, and where the others go."""
    feature: NDArray[np.int32]
    """(n,) the column that a node looks at; 0 in a leaf."""
    threshold: Floats
    """(n,); infinite in a leaf."""
    value: Floats
    """(n,) the mean target of the rows that came there in training."""

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> "Forest":
        """scikit-learn's trees as arrays."""
        counts = [tree.node_count for tree in trees]
        roots = np.cumsum([0, *counts[:-1]])
        own = np.arange(sum(counts))
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        first = np.repeat(roots, counts)
        children = [
            np.where(leaf, own, np.concatenate([getattr(tree, side) for tree in trees]) + first)
            for side in ("children_left", "children_right")
        ]
        return cls(
            roots=roots.astype(np.int32),
            children=np.column_stack(children).astype(np.int32),
            feature=np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            threshold=np.where(leaf, np.inf, np.concatenate([tree.threshold for tree in trees])),
            value=np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        )

    def __add__(self, other: "Forest") -> "Forest":
        """The trees of both."""
        count = np.int32(len(self.value))
        return Forest(
            roots=np.concatenate([self.roots, other.roots + count]),
            children=np.concatenate([self.children, other.children + count]),
            feature=np.concatenate([self.feature, other.feature]),
            threshold=np.concatenate([self.threshold, other.threshold]),
            value=np.concatenate([self.value, other.value]),
        )

    def predict(self, rows: Rows) -> Floats:
        """(n,) means over the trees of where finite rows (n, f) of single precision come to."""
        most = max(1, AT_ONCE // len(self.roots))
        return np.concatenate([self._predict(rows[begin : begin + most]) for begin in range(0, len(rows), most)])

    def _predict(self, rows: Rows) -> Floats:
        places = np.repeat(self.roots[:, None], len(rows), axis=1)
        number = np.arange(len(rows))
        while True:
            right = rows[number, self.feature[places]] > self.threshold[places]
            following = self.children[places, right.view(np.int8)]
            if np.array_equal(following, places):
                break
            places = following
        # Tree after tree, as scikit-learn adds them up, whatever the number of rows.
        return np.asarray(np.add.accumulate(self.value[places], axis=0)[-1] / len(self.roots))

    def faults(self, width: int) -> list[str]:
        """What would make following it fail, or never end, on rows of `width` features."""
        own, count = np.arange(len(self.value)), len(self.value)
        leaf = (self.children == own[:, None]).all(axis=1)
        checks = {
            "roots": self.roots[0] == 0 and (np.diff(self.roots) > 0).all() and self.roots[-1] < count,
            "children": ((leaf[:, None] | (self.children > own[:, None])) & (self.children < count)).all(),
            "feature": ((self.feature >= 0) & (self.feature < width)).all(),
            "threshold": np.where(leaf, self.threshold == np.inf, np.isfinite(self.threshold)).all(),
            "value": np.isfinite(self.value).all(),
        }
        return [name for name, sound in checks.items() if not sound]


@dataclass(frozen=True, eq=False)
class RandomForestPredictor:
    """A forest in the target's own unit; features are read in single precision."""

    feature_names: tuple[str, ...]
    forest: Forest

    @property
    def spent(self) -> int:
        """Trees."""
        return len(self.forest.roots)

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        Raises:
            ValueError: `features` has another number of columns.
        """
        return answer(features, len(self.feature_names), self.forest.predict, np.float32)

    def dump(self) -> bytes:
        """A label, and the arrays of `Forest` in their order."""
        trees, nodes = len(self.forest.roots), len(self.forest.value)
        arrays: dict[str, NDArray[Any]] = {each.name: getattr(self.forest, each.name) for each in fields(Forest)}
        label = _Label(
            algorithm="random_forest_regressor",
            version="1",
            feature_names=self.feature_names,
            trees=trees,
            nodes=nodes,
        )
        return seal(label, pack(_layout(trees, nodes), arrays))


class RandomForestTrainer:
    """Trains on rows cast once; one configuration a thread, or more threads where there are fewer configurations."""

    name: ClassVar[str] = "random_forest_regressor"
    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=2.0)
    budget: ClassVar[Budget] = ROUNDS
    batch: ClassVar[int] = 4
    # Next returns are nearly all noise: shallow trees, leaves of many rows.
    space: ClassVar[dict[str, Dimension]] = {
        "max_depth": IntegerRange(kind="integer", low=2, high=10),
        "min_samples_leaf": IntegerRange(kind="integer", low=5, high=200, log=True),
        "max_features": Uniform(kind="uniform", low=0.1, high=1.0),
        "max_samples": Uniform(kind="uniform", low=0.3, high=1.0),
    }
    default_grid: ClassVar[dict[str, tuple[Scalar, ...]]] = {
        "max_depth": (3, 6),
        "min_samples_leaf": (20, 100),
        "max_features": (0.3, 0.8),
    }

    def refuse(self, configuration: Configuration) -> tuple[Reason, ...]:
        """Everything that is wrong with a configuration; what it does not name has a default."""
        return refuse(self.name, LIMITS, configuration)

    def prepare(
        self, features: Floats, target: Floats, feature_names: Sequence[str], *, seed: int, threads: int
    ) -> AccumulatingTraining[RandomForestPredictor]:
        """Cast the finite rows, as `Trainer.prepare`."""
        names = tuple(feature_names)
        rows, outcome = usable(features, target, np.float32)

        def advance(
            parameters: dict[str, float], more: int, start: RandomForestPredictor | None, share: int
        ) -> RandomForestPredictor:
            # A forest that goes on draws on from where the start's trees stopped drawing.
            drawing = np.random.RandomState(seed)
            drawing.randint(SEEDS, size=0 if start is None else start.spent)
            drawn = max(1, int(parameters.pop("max_samples") * len(rows)))
            grown = RandomForestRegressor(
                n_estimators=more, max_samples=drawn, random_state=drawing, n_jobs=share, **parameters
            )
            forest = Forest.of([tree.tree_ for tree in grown.fit(rows, outcome).estimators_])
            return RandomForestPredictor(names, forest if start is None else start.forest + forest)

        return AccumulatingTraining(self.name, LIMITS, ROUNDS.full, RandomForestPredictor, names, threads, advance)

    def predictions(self, predictors: Sequence[Predictor], features: Floats) -> Floats:
        """(k, n) predictions, as `Trainer.predictions`."""
        return one_by_one(predictors, features)

    def load(self, dumped: bytes) -> RandomForestPredictor:
        """The predictor that `RandomForestPredictor.dump` wrote, equal to the last bit.

        Raises:
            MalformedModel: the bytes are something else.
        """
        label, body = unseal(_Label, dumped)
        forest = Forest(**unpack(_layout(label.trees, label.nodes), body))
        faults = forest.faults(len(label.feature_names))
        if faults:
            raise malformed(faults[0], f"No rows can be followed through the trees: {', '.join(faults)} are unsound.")
        return RandomForestPredictor(label.feature_names, forest)


def _layout(trees: int, nodes: int) -> Layout:
    return {
        "roots": ("<i4", (trees,)),
        "children": ("<i4", (nodes, 2)),
        "feature": ("<i4", (nodes,)),
        "threshold": ("<f8", (nodes,)),
        "value": ("<f8", (nodes,)),
    }


_Count = Annotated[int, Field(ge=1, lt=2**31)]


class _Label(Label):
    algorithm: Literal["random_forest_regressor"]
    version: Literal["1"]
    trees: _Count
    nodes: _Count
