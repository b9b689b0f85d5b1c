"""A walk over features that go by is the walk over features in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.algorithms.base import Configuration
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.algorithms.walk import Walk
from orchestrator.core.arrays import Floats
from orchestrator.core.dataset import Dataset
from orchestrator.core.splits import Fold, FoldPlan
from orchestrator.features.blocks import Stream, Work
from orchestrator.search.streamed import Streamed, streamed
from orchestrator.search.streamed_walk import StreamedWalk

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c")
GRID: tuple[Configuration, ...] = tuple({"alpha": alpha, "l1_ratio": 0.5} for alpha in (0.001, 0.1))


@dataclass(frozen=True, eq=False)
class Held(Streamed):
    """Features that are in memory, cut into blocks that come in any order."""

    features: Floats = field(default_factory=lambda: np.empty((0, 0)))
    cuts: tuple[int, ...] = ()
    seed: int = 0

    def read(self, work: Work, wanted: range, *, rows: int, cpus: float) -> Iterator[dict[str, NDArray[Any]]]:
        inside = [cut for cut in self.cuts if wanted.start < cut < wanted.stop]
        blocks = np.split(np.arange(wanted.start, wanted.stop), np.array(inside, dtype=int) - wanted.start)
        for number in np.random.default_rng(self.seed).permutation(len(blocks)):
            if len(block := blocks[number]):
                yield dict(work(self.shared, int(block[0]), self.features[block]))


@dataclass(frozen=True)
class Over:
    dataset: Dataset
    folds: tuple[Fold, ...]
    streamed: Streamed | None


def market(rows: int, seed: int, horizon: int, every: int) -> Dataset:
    """Rows of which some have no target: labels do not cross sessions of `every` bars."""
    rng = np.random.default_rng(seed)
    features = rng.normal((0.0, 100.0, -5.0), size=(rows, len(NAMES)))
    target = 0.01 * features[:, 0] + 0.01 * rng.normal(size=rows)
    number = np.arange(rows)
    known = number % every < every - horizon
    return Dataset(
        ticker="AAA",
        timeframe="1m",
        event_time=np.datetime64("2020-01-01", "us") + number,
        session=number // every,
        features=features,
        target=np.where(known, target, np.nan),
        bar_return=target,
        flat=~known,
        label_end=np.where(known, number + horizon, rows),
        feature_names=NAMES,
        data_hash="none",
        sessions_per_year=252.0,
    )


@given(
    rows=st.integers(150, 300),
    seed=st.integers(0, 99),
    horizon=st.integers(1, 5),
    every=st.integers(8, 50),
    budget=st.sampled_from([None, 100, 60, 7]),
    cuts=st.lists(st.integers(1, 299), max_size=6, unique=True).map(sorted),
    folds=st.integers(2, 6),
)
def test_predictions_and_predictors_are_those_of_the_walk_in_memory(
    rows: int, seed: int, horizon: int, every: int, budget: int | None, cuts: list[int], folds: int
) -> None:
    data = market(rows, seed, horizon, every)
    split = FoldPlan(folds).split(data.label_end)
    trainer = ElasticNetTrainer()
    expected, by_fold = Walk(trainer, data.features, data.target, split, NAMES, seed=0, threads=1).forward(
        GRID, budget=budget
    )
    with TemporaryDirectory() as folder:
        bare = replace(data, features=np.empty((rows, 0)), feature_names=())
        without, tests, way = streamed(bare, split, Stream((), NAMES), Path(folder))
        held = Held(way.stream, way.entry, way.folder, None, data.features, tuple(cuts), seed)
        shared = Over(without, tests, held)
        walk = StreamedWalk(trainer, Over(without, tests, replace(held, shared=shared)))
        for _ in range(2):
            predicted, predictors = walk.forward(GRID, budget=budget)
            assert [len(each) for each in predicted] == [expected.shape[1]] * len(GRID)
            np.testing.assert_allclose(
                np.array([np.asarray(each) for each in predicted]), expected, rtol=1e-6, atol=1e-9
            )
        known = np.isfinite(data.target)
        whole = trainer.prepare(data.features[known], data.target[known], NAMES, seed=0, threads=1)
        for one, other in zip(walk.whole.fit(GRID, budget=budget), whole.fit(GRID, budget=budget), strict=True):
            np.testing.assert_allclose(one.predict(data.features), other.predict(data.features), rtol=1e-9, atol=1e-12)
        for found, own in zip(predictors, by_fold, strict=True):
            for mine, theirs in zip(found, own, strict=True):
                assert mine.feature_names == NAMES
                np.testing.assert_allclose(
                    mine.predict(data.features), theirs.predict(data.features), rtol=1e-9, atol=1e-12
                )
