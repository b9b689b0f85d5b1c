"""Features that are larger than memory: times and prices are loaded, feature columns go by block after block."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.core.bars import Bars
from orchestrator.features import arrow, checks
from orchestrator.features.asking import check_asked
from orchestrator.features.assembly import MINIMUM_ROWS, content_hash
from orchestrator.features.parquet import ParquetFeatures, _dataset, _Files, _first_time, _span
from orchestrator.features.source import FeatureSource, UnusableFeatures
from schemas.base import Reason

PIECE_ROWS, BATCH_ROWS, BUFFER = 250_000, 2**16, 2**20
"""Rows that a task reads, and those that it holds at once; bytes of each column that it reads ahead."""
HELD = ("open", "close")
"""Prices that what is predicted is made of."""
HEAD = 4096
"""Rows that are looked at first for the end of the warm-up."""

Work = Callable[[Any, int, Floats], Mapping[str, np.ndarray[Any, Any]]]
"""Makes columns of equal lengths of what all blocks share, a block's first row, and its features (m, f)."""


@dataclass(frozen=True)
class Stream:
    """The feature columns of a dataset where they are stored: those of the rows with these times go by."""

    files: tuple[Path, ...]
    feature_names: tuple[str, ...]
    """In the order of a block's columns."""

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
        """
        # Half a second of imports, which only those who stream pay.
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.resource_limits = context.execution_options.resource_limits.copy(cpu=cpus)
        pieces = [piece for file in self.files for piece in _pieces(file)]
        made = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
            _Reading(work, shared, times, self.feature_names, wanted, rows), batch_format="pyarrow", batch_size=None
        )
        for batch in made.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
            yield cast(dict[str, NDArray[Any]], batch)


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


def stream(
    source: FeatureSource,
    ticker: str,
    timeframe: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    minimum_rows: int = MINIMUM_ROWS,
) -> tuple[Bars, Stream]:
    """Bars as `FeatureSource.load` gives them, but without features, and the stream of those.

    Times, `open` and `close` stay in memory; every other column is read and judged by itself. The data hash is that of
    `load`.

    Raises:
        UnusableFeatures: there are no such bars, or something is wrong with them; every fault at once. Or the source is
            not one of parquet files (`not_streamable`).
        ValueError: `start` or `end` is naive.
    """
    check_asked(ticker, timeframe, start, end)
    where = f"{ticker}/{timeframe}"
    if not isinstance(source, ParquetFeatures):
        message = "The rows are larger than memory, and only parquet files are streamed; write them to FEATURES_DIR."
        raise UnusableFeatures([checks.fault("not_streamable", where, message)])
    found = source._find(ticker, timeframe)
    columns = _Columns(_Files(found, where), found, _span(start, end), where)
    times = columns.event_time[columns.warm_up :]
    data_hash = content_hash(times, columns)
    faults = [*columns.files.faults, *checks.time_faults(columns.event_time, where), *columns.faults]
    if len(times) < minimum_rows:
        left = f"{len(times)} rows are left of {len(columns.event_time)} after a warm-up of {columns.warm_up}"
        faults.append(checks.fault("too_few_rows", where, f"{left}; {minimum_rows} are needed."))
    if faults:
        raise UnusableFeatures(faults)
    pa.default_memory_pool().release_unused()
    bars = Bars(
        ticker=ticker,
        timeframe=timeframe,
        event_time=times,
        close=columns.held["close"],
        feature_names=(),
        features=np.empty((len(times), 0)),
        data_hash=data_hash,
        open=columns.held.get("open"),
    )
    return bars, Stream(tuple(found), columns.feature_names)


class _Columns(Mapping[str, Floats]):
    """The columns of a dataset without the warm-up: each is read and judged when it is asked for, and then forgotten.

    Those that are `held` are not; what was found wrong is in `faults`.
    """

    def __init__(self, files: _Files, paths: Sequence[Path], span: pa.compute.Expression | None, where: str) -> None:
        self.files, self._paths, self._span, self._where = files, paths, span, where
        self.faults: list[Reason] = []
        self.held: dict[str, Floats] = {}
        self._names = [name for name in files.names if name != checks.EVENT_TIME]
        self.feature_names = tuple(name for name in self._names if name not in checks.NOT_FEATURES)
        tables = files.read([checks.EVENT_TIME], span)
        self._order = sorted(
            (place for place, table in enumerate(tables) if table.num_rows),
            key=lambda place: _first_time(tables[place]),
        )
        self.event_time: Times = np.concatenate(
            [np.empty(0, "datetime64[us]"), *(arrow.arrays(tables[place])[0] for place in self._order)]
        )
        self.warm_up = max((self._leading(name) for name in self.feature_names), default=0)
        self._latest: tuple[str, Floats] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Floats:
        if self._latest is None or self._latest[0] != name:
            self._latest = None
            self._latest = (name, self._judged(name))
        return self._latest[1]

    def _judged(self, name: str) -> Floats:
        values = self._read(name)
        used, times = values[self.warm_up :], self.event_time[self.warm_up :]
        if name in self.feature_names:
            whole = values if self._span is None else self.files.stored(name)
            self.faults += checks.feature_faults(times, {name: used}, self._where)
            self.faults += checks.scaling_faults([name], lambda _: whole, self._where)
        else:
            self.faults += checks.price_faults(times, {name: used}, self._where)
        if name in HELD:
            self.held[name] = used
        return used

    def _leading(self, name: str) -> int:
        """Rows before the first finite value."""
        for values in (self._read(name, HEAD), self._read(name)):
            if np.isfinite(values).any():
                return checks.warm_up({name: values})
        return 0

    def _read(self, name: str, count: int | None = None) -> Floats:
        """All values of the span, or the first so many at least."""
        parts: list[Floats] = []
        for place in self._order:
            if count is None or sum(map(len, parts)) < count:
                stored = _dataset(self._paths[place], arrow.read_as([checks.EVENT_TIME, name]))
                rows = stored.scanner(columns=[name], filter=self._span, use_threads=False)
                parts.append(np.asarray((rows.to_table() if count is None else rows.head(count))[name]))
        return np.concatenate([np.empty(0), *parts])
