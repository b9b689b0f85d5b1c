"""Feature columns that stay where they are stored, and go by block after block."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.features import arrow, checks
from orchestrator.features.source import UnusableFeatures

PIECE_ROWS, BATCH_ROWS, BUFFER = 250_000, 2**16, 2**20
"""Rows that a task reads, and those that it holds at once; bytes of each column that it reads ahead."""
NICENESS, READER = 10, {"ORCHESTRATOR_READER": "1"}
"""Of workers that read: signals are answered first."""
HELD_VALUES, HELD_ROWS = 2**22, 1024
"""Values of features that `Stream.in_order` holds at once, and the least rows that these are."""

Work = Callable[[Any, int, Floats], Mapping[str, np.ndarray[Any, Any]]]
"""Makes columns of equal lengths of what all blocks share, a block's first row, and its features (m, f)."""


class Changed(UnusableFeatures):
    """The stored rows are no longer those that the search began with."""


Stamp = tuple[int, int]
"""Size of a file in bytes, and when it was last written to, in nanoseconds."""


def stamp_of(file: Path) -> Stamp | None:
    """What tells a file from what it was before; None: it is gone."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Stream:
    """The feature columns of a dataset where they are stored: those of the rows with these times go by."""

    files: tuple[Path, ...]
    feature_names: tuple[str, ...]
    """In the order of a block's columns."""
    beside: tuple[str, ...] = ()
    """The prices and the volume that are stored with them."""
    where: str = ""
    """What the dataset is called in a reason."""
    stamps: tuple[Stamp | None, ...] = ()
    """Of the files, as they were before anything was read."""

    def blocks(
        self, work: Work, shared: Any, times: Callable[[Any], Times], wanted: range, *, rows: int, cpus: float
    ) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """Have Ray's workers go through rows, each stored row once.

        Args:
            work: done for each block of consecutive rows, in any order.
            shared: reference to what all blocks share, in Ray's object store.
            times: (n,) of the rows, made of what is shared, strictly ascending; stored rows of other times are skipped.
            wanted: the rows that count.
            rows: of a block at most.
            cpus: that may be used at once.

        Returns:
            What `work` has made of each block, in any order.

        Raises:
            Changed: the files are not what they were.
        """
        # Half a second of imports, which only those who stream pay.
        import ray.data

        self._check()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.resource_limits = context.execution_options.resource_limits.copy(cpu=cpus)
        pieces = [piece for file in self.files for piece in _pieces(file)]
        made = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
            _Reading(work, shared, times, self.feature_names, wanted, rows),
            batch_format="pyarrow",
            batch_size=None,
            # Workers of an environment of their own are never handed on to what must not wait.
            runtime_env={"env_vars": READER},
        )
        try:
            for batch in made.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
                yield cast(dict[str, NDArray[Any]], batch)
        except Exception:
            # What a reader trips over may be that the files were written again.
            self._check()
            raise
        self._check()

    def rows(self, times: Times, names: Sequence[str] | None = None) -> Floats:
        """The features of a few rows, read in this process; of other columns where these are named.

        Args:
            times: (n,) of the rows, strictly ascending, n at least 1.
            names: k columns; None: the features.

        Returns:
            (n, k).

        Raises:
            Changed: the files are not what they were.
        """
        columns = self.feature_names if names is None else tuple(names)
        found = np.empty((len(times), len(columns)))
        count = 0
        self._check()
        for piece in (piece for file in self.files for piece in _pieces(file)):
            for stored in _batches(piece, columns, (times[0], times[-1])):
                for begin, block in blocks_of(stored, times, columns, range(len(times)), len(times)):
                    found[begin : begin + len(block)] = block
                    count += len(block)
        self._check()
        self.check_count(count, len(times))
        return found

    def in_order(self, times: Times) -> Iterator[Floats]:
        """The features of rows of any number, as `rows`, a few after the other."""
        step = max(HELD_ROWS, HELD_VALUES // len(self.feature_names))
        for begin in range(0, len(times), step):
            yield self.rows(times[begin : begin + step])

    def check_count(self, found: int, wanted: int) -> None:
        """See to it that as many rows were found as there were.

        Raises:
            Changed: they were not.
        """
        if found != wanted:
            self._refuse(f"{found} of {wanted} rows were found")

    def _check(self) -> None:
        astray = [file.name for file, stamp in zip(self.files, self.stamps, strict=True) if stamp_of(file) != stamp]
        if astray:
            self._refuse(f"{len(astray)} files have been written again or removed, the first of them {astray[0]}")

    def _refuse(self, what: str) -> NoReturn:
        message = f"{what} since the search began; leave the files as they are, and send the request again."
        raise Changed([checks.fault("data_changed", self.where, message)])


@dataclass(frozen=True)
class _Reading:
    """What a worker of Ray does with a piece of a file: it never holds more than a batch of the rows."""

    work: Work
    shared: Any
    times: Callable[[Any], Times]
    feature_names: tuple[str, ...]
    wanted: range
    rows: int

    def __call__(self, pieces: pa.Table) -> Iterator[pa.Table]:
        import ray

        os.nice(max(0, NICENESS - os.nice(0)))
        shared = ray.get(self.shared)
        times = self.times(shared)
        span = times[self.wanted.start], times[self.wanted.stop - 1]
        for piece in pieces.to_pylist():
            for stored in _batches(piece, self.feature_names, span):
                for begin, features in blocks_of(stored, times, self.feature_names, self.wanted, self.rows):
                    yield pa.table(dict(self.work(shared, begin, features)))
        pa.default_memory_pool().release_unused()


def _pieces(file: Path) -> Iterator[dict[str, Any]]:
    """Row groups of a file that are read by one task, `PIECE_ROWS` together unless one has more."""
    with pa.parquet.ParquetFile(file) as stored:
        groups: list[int] = []
        rows = 0
        for number in range(stored.num_row_groups):
            groups.append(number)
            rows += stored.metadata.row_group(number).num_rows
            if rows >= PIECE_ROWS or number == stored.num_row_groups - 1:
                yield {"file": str(file), "groups": groups}
                groups, rows = [], 0


def _batches(piece: Mapping[str, Any], feature_names: Sequence[str], span: tuple[Any, Any]) -> Iterator[pa.Table]:
    """Of a piece that has rows of the span, both ends included."""
    groups, names = piece["groups"], [checks.EVENT_TIME]
    with pa.parquet.ParquetFile(piece["file"], buffer_size=BUFFER) as stored:
        times, _ = arrow.arrays(stored.read_row_groups(groups, names).cast(arrow.read_as(names)))
        if ((times >= span[0]) & (times <= span[1])).any():
            for batch in stored.iter_batches(BATCH_ROWS, groups, [*names, *feature_names], use_threads=False):
                yield pa.table(batch)


def blocks_of(
    stored: pa.Table, times: Times, feature_names: tuple[str, ...], wanted: range, rows: int
) -> Iterator[tuple[int, Floats]]:
    """The blocks that stored rows make up: the first row's number, and features (m, f) of it and those that follow.

    Args:
        stored: columns `event_time` and the features, rows in any order of times.
        times: (n,) of the numbered rows, strictly ascending.
        feature_names: in the order of a block's columns.
        wanted: numbers of the rows that count.
        rows: of a block at most.
    """
    event_time, columns = arrow.arrays(stored.cast(arrow.read_as(stored.column_names)))
    number: Integers = np.searchsorted(times[wanted.start : wanted.stop], event_time) + wanted.start
    known = number < wanted.stop
    known[known] = times[number[known]] == event_time[known]
    place = np.flatnonzero(known)
    begins = np.flatnonzero((np.diff(place, prepend=-2) != 1) | (np.diff(number[place], prepend=-2) != 1))
    for first, stop in pairwise([*begins.tolist(), len(place)]):
        for begin in range(first, stop, rows):
            chosen = slice(place[begin], place[min(begin + rows, stop) - 1] + 1)
            yield int(number[chosen.start]), np.column_stack([columns[name][chosen] for name in feature_names])
