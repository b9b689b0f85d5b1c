"""Features that are larger than memory: times and prices are loaded, feature columns go by block after block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.bars import Bars
from orchestrator.features import arrow, checks
from orchestrator.features.asking import check_asked
from orchestrator.features.assembly import MINIMUM_ROWS, content_hash
from orchestrator.features.blocks import Stream, stamp_of
from orchestrator.features.files import Files, dataset, first_time, within
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import FeatureSource, UnusableFeatures
from schemas.base import Reason

HELD = ("open", "close")
"""Prices that what is predicted is made of."""
HEAD = 4096
"""Rows that are looked at first for the end of the warm-up."""
SAMPLES, SAMPLE_VALUES, SAMPLE_ROWS = 3, 2**20, 4096
"""Parts of the rows that are loaded to be looked at, values of features that each has, and the least rows of each."""


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
        message = (
            "The rows are larger than memory, and only parquet files are streamed: write them to FEATURES_DIR and "
            "leave FEATURES_DB empty, or give a shorter span (data_start, data_end)."
        )
        raise UnusableFeatures([checks.fault("not_streamable", where, message)])
    found = source.paths(ticker, timeframe)
    stamps = tuple(map(stamp_of, found))
    columns = _Columns(Files(found, where), found, within(start, end), where)
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
    beside = tuple(name for name in columns if name not in columns.feature_names)
    return bars, Stream(tuple(found), columns.feature_names, beside, where, stamps)


def samples(bars: Bars, features: Stream) -> Iterator[Bars]:
    """Some of the bars, with all of their columns: the oldest, the newest and some in the middle, each consecutive.

    All of them at once, where they are no more than that. The data hash of a sample is that of all bars.

    Raises:
        Changed: the files are not what they were.
    """
    rows = max(SAMPLE_ROWS, SAMPLE_VALUES // len(features.feature_names))
    few = len(bars) <= SAMPLES * rows
    begins = [0] if few else np.linspace(0, len(bars) - rows, SAMPLES).astype(int).tolist()
    for begin in begins:
        times = bars.event_time[begin : None if few else begin + rows]
        columns = features.rows(times, (*features.beside, *features.feature_names))
        yield replace(
            bars,
            event_time=times,
            feature_names=features.feature_names,
            features=np.ascontiguousarray(columns[:, len(features.beside) :]),
            **dict(zip(features.beside, columns.T, strict=False)),
        )


class _Columns(Mapping[str, Floats]):
    """The columns of a dataset without the warm-up: each is read and judged when it is asked for, and then forgotten.

    Those that are `held` are not; what was found wrong is in `faults`.
    """

    def __init__(self, files: Files, paths: Sequence[Path], span: pa.compute.Expression | None, where: str) -> None:
        self.files, self._paths, self._span, self._where = files, paths, span, where
        self.faults: list[Reason] = []
        self.held: dict[str, Floats] = {}
        self._names = [name for name in files.names if name != checks.EVENT_TIME]
        self.feature_names = tuple(name for name in self._names if name not in checks.NOT_FEATURES)
        tables = files.read([checks.EVENT_TIME], span)
        self._order = sorted(
            (place for place, table in enumerate(tables) if table.num_rows),
            key=lambda place: first_time(tables[place]),
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
                stored = dataset(self._paths[place], arrow.read_as([checks.EVENT_TIME, name]))
                rows = stored.scanner(columns=[name], filter=self._span, use_threads=False)
                parts.append(np.asarray((rows.to_table() if count is None else rows.head(count))[name]))
        return np.concatenate([np.empty(0), *parts])
