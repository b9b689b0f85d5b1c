"""What there is instead of features that are larger than memory: where they go by, and where predictions are kept."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.dataset import Dataset
from orchestrator.core.splits import Fold
from orchestrator.features.blocks import Stream, Work


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
        folder: for predictions, as long as they are not recorded; it must be there when the first are made.

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
    """A configuration's out-of-fold predictions (n_oof,) in files, one for each ticker; `np.asarray` reads them."""

    paths: tuple[Path, ...]
    """Of numbers in single precision."""
    count: int

    def __len__(self) -> int:
        return self.count

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(self.paths + other.paths, self.count + other.count)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        read = np.concatenate([np.fromfile(path, dtype=np.float32) for path in self.paths])
        return read.astype(np.float64 if dtype is None else dtype)

    def forget(self) -> None:
        """Delete the files."""
        for path in self.paths:
            path.unlink(missing_ok=True)


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """A folder that is there for as long as this lasts, without what an earlier one may have left.

    A worker that outlives it finds no folder to write into.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mapped(path: Path, values: NDArray[Any]) -> Floats:
    """The values in the file `path`, from where they are read as they are looked at; what is there already stays."""
    if not path.exists():
        np.save(path, values.astype(np.float64))
    found: Floats = np.load(path, mmap_mode="r")
    return found


def _times(ground: Ground) -> Times:
    return ground.dataset.event_time
