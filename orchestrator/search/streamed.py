"""Searching over features that are larger than memory."""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import count, pairwise
from operator import add
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import Configuration, Predictor, Streaming, Summary, Trainer, Training, registered
from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.core.dataset import Dataset
from orchestrator.core.errors import Refused
from orchestrator.core.splits import Fold
from orchestrator.features.source import Extent
from orchestrator.features.streaming import Stream, Work
from schemas.base import Reason

GIB = 2**30
SHARE = 0.25
"""Of the memory that is there: what is larger when loaded is streamed, since it is copied on its way."""
SUMMED_ROWS = 2**18
PREDICTIONS = 2**21
"""Of a block."""


class LargerThanMemory(Refused):
    """The rows are more than memory takes, and the family cannot stream them."""


class Changed(Refused):
    """The stored rows are no longer those that the search began with."""


def is_streamed(
    trainer: Trainer, extents: Mapping[str, Extent], *, memory: int, stream_above: int | None = None
) -> bool:
    """Whether the features of a search are streamed, decided before anything is loaded.

    Args:
        trainer: the family.
        extents: what would be loaded, by what it is called in a reason.
        memory: bytes that are there.
        stream_above: bytes of rows above which they are streamed; None: `SHARE` of the memory.

    Raises:
        LargerThanMemory: they would have to be, and the family cannot (`larger_than_memory`).
    """
    needed = {where: 8 * extent.rows * (extent.columns + 1) for where, extent in extents.items()}
    limit = int(SHARE * memory) if stream_above is None else stream_above
    if sum(needed.values()) <= limit:
        return False
    if isinstance(trainer, Streaming):
        return True
    able = [name for name, other in registered().items() if isinstance(other, Streaming)]
    message = (
        f"All rows together need {sum(needed.values()) / GIB:.1f} GiB of memory; {memory / GIB:.1f} GiB are there, of "
        f"which they may take {limit / GIB:.1f} GiB, and {trainer.name} cannot stream them. Choose a family that can "
        f"({', '.join(able)}), a shorter span (data_start, data_end), fewer features, or a machine with more memory."
    )
    raise LargerThanMemory(
        Reason(
            code="larger_than_memory",
            where=where,
            message=f"{extents[where].rows:,} rows x {extents[where].columns} columns: {size / GIB:.1f} GiB. {message}",
        )
        for where, size in needed.items()
    )


@dataclass(frozen=True, eq=False)
class Streamed:
    """What a ground has instead of features in memory.

    `entry` (n,) is the first training set that each row is in, as `entries` has it. `shared` refers
    to the ground in Ray's object store, once it is there. Predictions are written to files in `folder`.
    """

    stream: Stream
    entry: NDArray[np.int8]
    folder: Path
    shared: Any = None

    def read(self, work: Work, wanted: range, *, rows: int, cpus: float) -> Iterator[dict[str, NDArray[Any]]]:
        """Have Ray go through the wanted rows, as `Stream.blocks`."""
        return self.stream.blocks(work, self.shared, _times, wanted, rows=rows, cpus=cpus)


class Ground(Protocol):
    """What a ground must have to be streamed over."""

    @property
    def dataset(self) -> Dataset: ...
    @property
    def folds(self) -> tuple[Fold, ...]: ...
    @property
    def streamed(self) -> Streamed | None: ...


_Ground = TypeVar("_Ground", bound=Ground)


def shared(ground: _Ground) -> _Ground:
    """The ground with its arrays in Ray's object store, and no second copy of them in this process."""
    import ray

    return cast(_Ground, fetched(ray.put(ground)))


def reference(ground: Ground) -> Any:
    """To the ground in Ray's object store, where it is put unless it is there."""
    import ray

    return ray.put(ground) if ground.streamed is None or ground.streamed.shared is None else ground.streamed.shared


def fetched(reference: Any) -> Any:
    """The ground that a reference is to; a streamed one knows the reference, so that it is never stored again."""
    import ray

    ground: Any = ray.get(reference)
    if ground.streamed is not None:
        ground = replace(ground, streamed=replace(ground.streamed, shared=reference))
    return ground


def entries(folds: Sequence[Fold], target: Floats) -> NDArray[np.int8]:
    """(n,) the first training set that each row is in: those of the folds, then all rows of known target.

    Rows whose target (n,) is not known are in none: `len(folds) + 1`.

    Raises:
        ValueError: a training set lacks rows of the one before.
    """
    entry = np.full(len(target), len(folds), dtype=np.int8)
    for number in reversed(range(len(folds))):
        entry[folds[number].train] = number
    for number, fold in enumerate(folds):
        if np.count_nonzero(entry <= number) != len(fold.train):
            raise ValueError(f"fold {number} does not train on all rows that the folds before it train on")
    entry[~np.isfinite(target)] = len(folds) + 1
    return entry


def streamed(
    dataset: Dataset, folds: Sequence[Fold], stream: Stream, folder: Path
) -> tuple[Dataset, tuple[Fold, ...], Streamed]:
    """What a ground over a stream is made of.

    Args:
        dataset: without features.
        folds: of its rows; training sets expand.
        stream: its features.
        folder: for predictions; whoever removes it does so when they have been recorded.

    Returns:
        The dataset with the features' names, and the folds without the rows that they train on: `Streamed.entry` has
        those in an eighth of the memory. Label ends, which folds are made of, are left out.
    """
    nothing = np.empty(0, dtype=np.int64)
    entry = entries(folds, dataset.target)
    return (
        replace(dataset, feature_names=stream.feature_names, label_end=nothing),
        tuple(Fold(nothing, fold.test) for fold in folds),
        Streamed(stream, entry, folder),
    )


@dataclass(frozen=True)
class Kept:
    """A configuration's out-of-fold predictions (n_oof,) in a file, single precision; `np.asarray` reads them."""

    path: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.fromfile(self.path, dtype=np.float32).astype(np.float64 if dtype is None else dtype)


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
    _calls: Iterator[int] = field(default_factory=count)

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
            Changed: stored rows are missing.
        """
        begun = [None] * len(configurations) if starts is None else starts
        by_fold = [
            training.fit(configurations, budget=budget, starts=[each[number] if each else None for each in begun])
            for number, training in enumerate(self._prepared()[:-1])
        ]
        return self._predicted(by_fold, len(configurations)), tuple(zip(*by_fold, strict=True))

    def refit(self, configurations: Sequence[Configuration], *, budget: int | None = None) -> tuple[Predictor, ...]:
        """Train configurations on all rows of known target, and predict nothing."""
        return self._prepared()[-1].fit(configurations, budget=budget)

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
            self._check(rows, len(wanted))
            parts.sort(key=lambda part: part[:2])
            self._summaries[percent] = [
                reduce(add, [part for _, group, part in parts if group // (sets + 1) <= each < group % (sets + 1)])
                for each in range(sets)
            ]
        return self._summaries[percent]

    def _predicted(self, by_fold: Sequence[Sequence[Predictor]], configurations: int) -> tuple[Kept, ...]:
        """Written fold after fold, whatever the order in which blocks come."""
        folder = self._streamed.folder / f"{os.getpid()}.{next(self._calls)}"
        folder.mkdir(parents=True)
        wanted = range(self._bounds[0], self._bounds[-1])
        kept = tuple(Kept(folder / str(number), len(wanted)) for number in range(configurations))
        if not kept or not wanted:
            return kept
        rows = 0
        with ExitStack() as opened:
            files = [opened.enter_context(each.path.open("wb")).fileno() for each in kept]
            work = _Predicting(self.trainer, tuple(map(tuple, by_fold)), self._bounds)
            block = max(1024, PREDICTIONS // configurations)
            for batch in self._streamed.read(work, wanted, rows=block, cpus=self.threads):
                number = batch.pop("row")
                rows += len(number)
                for begin, stop in _runs(number):
                    for column, values in batch.items():
                        offset = 4 * (int(number[begin]) - wanted.start)
                        os.pwrite(files[int(column)], np.ascontiguousarray(values[begin:stop], np.float32).data, offset)
        self._check(rows, len(wanted))
        return kept

    def _check(self, found: int, wanted: int) -> None:
        if found != wanted:
            dataset = self.ground.dataset
            message = f"{found} of {wanted} rows were found; write the files again, and send the request again."
            raise Changed([Reason(code="data_changed", where=f"{dataset.ticker} {dataset.timeframe}", message=message)])


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


def _times(ground: Ground) -> Times:
    return ground.dataset.event_time


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
