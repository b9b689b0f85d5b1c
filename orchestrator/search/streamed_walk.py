"""Walking forward over features that are larger than memory."""

import os
import pickle
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import Configuration, Predictor, Streaming, Summary, Trainer, Training
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.splits import Fold
from orchestrator.search.streamed import Ground, Kept, Streamed

SUMMED_ROWS = 2**18
PREDICTIONS = 2**21
"""Of a block."""


@dataclass(eq=False)
class StreamedWalk:
    """`Walk` over features that go by: once for the training sets, and once for each call of `forward`.

    The training sets expand, and the test spans follow one another. A summary of the rows is taken for each difference
    between training sets, and sums of these are the training sets.
    """

    trainer: Trainer
    ground: Ground
    threads: int = 1
    _summaries: dict[int, list[Summary]] = field(default_factory=dict)
    _trainings: list[Training] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bounds = _bounds(self.ground.folds)

    def forward(
        self,
        configurations: Sequence[Configuration],
        *,
        budget: int | None = None,
        starts: Sequence[Sequence[Predictor] | None] | None = None,
    ) -> tuple[tuple[Kept, ...], tuple[tuple[Predictor, ...], ...]]:
        """Train configurations on every fold, and predict its test rows, as `Walk.forward`.

        Returns:
            By configuration the file of its predictions (n_oof,), and its predictors by fold.

        Raises:
            CannotTrain: with a reason for each configuration that cannot be trained.
            Changed: the stored rows are no longer what they were.
        """
        begun = [None] * len(configurations) if starts is None else starts
        by_fold = [
            training.fit(configurations, budget=budget, starts=[each[number] if each else None for each in begun])
            for number, training in enumerate(self._prepared()[:-1])
        ]
        return self._predicted(by_fold, len(configurations)), tuple(zip(*by_fold, strict=True))

    @property
    def whole(self) -> Training:
        """The training set of all rows of known target."""
        return self._prepared()[-1]

    def _prepared(self) -> list[Training]:
        if not self._trainings:
            family = self._family
            names = self.ground.dataset.feature_names
            self._trainings = [
                family.prepare_summarised(lambda percent, fold=number: self._summed(percent)[fold], names)  # type: ignore[misc]
                for number in range(len(self.ground.folds) + 1)
            ]
        return self._trainings

    @property
    def _family(self) -> Streaming:
        if not isinstance(self.trainer, Streaming):
            raise TypeError(f"{self.trainer.name} cannot stream")
        return self.trainer

    @property
    def _streamed(self) -> Streamed:
        if self.ground.streamed is None:
            raise ValueError("the ground holds its features in memory")
        return self.ground.streamed

    def _summed(self, percent: int) -> list[Summary]:
        """By training set the summary of the latest so many percent of its rows; one pass for all of them."""
        if percent not in self._summaries:
            sets, entry = len(self.ground.folds) + 1, self._streamed.entry
            begins = _begins(entry, sets, percent)
            parts: list[tuple[int, int, Summary]] = []
            rows = 0
            wanted = range(min(begins), len(entry) - int(np.argmax(entry[::-1] < sets)))
            work = _Summing(self._family, begins, sets)
            for batch in self._streamed.read(work, wanted, rows=SUMMED_ROWS, cpus=self.threads):
                rows += int(batch["rows"].sum())
                parts += [
                    (begin, group, pickle.loads(dumped))
                    for begin, group, dumped in zip(
                        batch["begin"].tolist(), batch["group"].tolist(), batch["summary"].tolist(), strict=True
                    )
                    if group >= 0
                ]
            self._streamed.stream.check_count(rows, len(wanted))
            parts.sort(key=lambda part: part[:2])
            self._summaries[percent] = [
                reduce(add, [part for _, group, part in parts if group // (sets + 1) <= each < group % (sets + 1)])
                for each in range(sets)
            ]
        return self._summaries[percent]

    def _predicted(self, by_fold: Sequence[Sequence[Predictor]], configurations: int) -> tuple[Kept, ...]:
        """Written fold after fold, whatever the order in which blocks come."""
        folder, call = self._streamed.folder, uuid.uuid4().hex
        wanted = range(self._bounds[0], self._bounds[-1])
        kept = tuple(Kept((folder / f"{call}.{number}",), len(wanted)) for number in range(configurations))
        if not kept or not wanted:
            return kept
        rows = 0
        with ExitStack() as opened:
            files = [opened.enter_context(each.paths[0].open("wb")).fileno() for each in kept]
            work = _Predicting(self.trainer, tuple(map(tuple, by_fold)), self._bounds)
            block = max(1024, PREDICTIONS // configurations)
            for batch in self._streamed.read(work, wanted, rows=block, cpus=self.threads):
                number = batch.pop("row")
                rows += len(number)
                for begin, stop in _runs(number):
                    for column, values in batch.items():
                        offset = 4 * (int(number[begin]) - wanted.start)
                        os.pwrite(files[int(column)], np.ascontiguousarray(values[begin:stop], np.float32).data, offset)
        self._streamed.stream.check_count(rows, len(wanted))
        return kept


@dataclass(frozen=True)
class _Summing:
    """Sums up a block's rows in groups of those that are in the same training sets.

    A row is in set j if `entry` <= j, and if it is not before `begins[j]`: in all sets from its entry on, below the
    number of begins that it has reached. Both make up its group. One of -1 counts the rows.
    """

    family: Streaming
    begins: tuple[int, ...]
    sets: int

    def __call__(self, shared: Any, begin: int, features: Floats) -> dict[str, NDArray[Any]]:
        rows = slice(begin, begin + len(features))
        entry, target = shared.streamed.entry[rows].astype(np.int64), shared.dataset.target[rows]
        reached = np.searchsorted(self.begins, np.arange(rows.start, rows.stop), side="right")
        group = np.where(entry < reached, entry * (self.sets + 1) + reached, -1)
        summaries = {-1: b""}
        for number in np.unique(group[group >= 0]).tolist():
            chosen = group == number
            whole = bool(chosen.all())
            x, y = (features, target) if whole else (features[chosen], target[chosen])
            summaries[number] = pickle.dumps(self.family.summarise(x, y))
        return {
            "begin": np.full(len(summaries), begin),
            "group": np.array(list(summaries)),
            "rows": np.array([len(features) if number < 0 else 0 for number in summaries]),
            "summary": np.array(list(summaries.values()), dtype=object),
        }


@dataclass(frozen=True)
class _Predicting:
    """Predicts a block's rows by the predictors of the folds that test them: a column for each configuration."""

    trainer: Trainer
    by_fold: tuple[tuple[Predictor, ...], ...]
    bounds: tuple[int, ...]

    def __call__(self, shared: Any, begin: int, features: Floats) -> dict[str, NDArray[Any]]:
        stop = begin + len(features)
        predicted = np.empty((len(self.by_fold[0]), len(features)), dtype=np.float32)
        for predictors, (first, last) in zip(self.by_fold, pairwise(self.bounds), strict=True):
            rows = slice(max(first, begin) - begin, min(last, stop) - begin)
            if rows.start < rows.stop:
                predicted[:, rows] = self.trainer.predictions(predictors, features[rows])
        return {"row": np.arange(begin, stop), **{str(number): row for number, row in enumerate(predicted)}}


def _begins(entry: NDArray[np.int8], sets: int, percent: int) -> tuple[int, ...]:
    """By training set the first of the latest so many percent of its rows."""
    begins = []
    for number in range(sets):
        rows = np.flatnonzero(entry <= number)
        begins.append(int(rows[len(rows) - max(1, -(-len(rows) * percent // 100))]))
    return tuple(begins)


def _bounds(folds: Sequence[Fold]) -> tuple[int, ...]:
    """Where the test spans begin, and where the last one ends."""
    bounds = [int(fold.test[0]) for fold in folds] + [int(folds[-1].test[-1]) + 1]
    if any(len(fold.test) != stop - start for fold, (start, stop) in zip(folds, pairwise(bounds), strict=True)):
        raise ValueError("the test spans do not follow one another")
    return tuple(bounds)


def _runs(number: Integers) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of consecutive numbers."""
    return pairwise([*np.flatnonzero(np.diff(number, prepend=number[0] - 2) != 1).tolist(), len(number)])
