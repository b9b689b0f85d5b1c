"""Bars and features in parquet files: DIRECTORY/{ticker}/{timeframe}/*.parquet (docs/features.md)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import bar_length
from orchestrator.features import arrow, checks
from orchestrator.features.asking import check_asked, is_ticker, is_timeframe
from orchestrator.features.assembly import MINIMUM_ROWS, assemble
from orchestrator.features.source import Extent, UnusableFeatures
from schemas.base import Reason


class ParquetFeatures:
    """A feature source over a directory of parquet files."""

    def __init__(self, directory: Path, *, minimum_rows: int = MINIMUM_ROWS) -> None:
        self._root = directory.resolve()
        self._minimum_rows = minimum_rows

    def tickers(self, timeframe: str) -> tuple[str, ...]:
        """The tickers that have files of `timeframe`, sorted; none where the directory does not exist."""
        return tuple(ticker for ticker in _folders(self._root, is_ticker) if timeframe in self.timeframes(ticker))

    def timeframes(self, ticker: str) -> tuple[str, ...]:
        """The timeframes that `ticker` has files of, shortest bar first."""
        if not is_ticker(ticker):
            return ()
        folder = self._root / ticker
        return tuple(
            sorted((name for name in _folders(folder, is_timeframe) if any(_files(folder / name))), key=bar_length)
        )

    def extent(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Extent:
        """What `load` would read, as `FeatureSource.extent`: from the files' footers, and the times at the bounds."""
        check_asked(ticker, timeframe, start, end)
        files = _Files(self._find(ticker, timeframe), f"{ticker}/{timeframe}")
        return Extent(rows=files.count(_span(start, end)), columns=len(files.names) - 1)

    def load(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """The bars from `start` (included) to `end` (excluded), as `FeatureSource.load`.

        Files are put in the order of their first bars.
        """
        check_asked(ticker, timeframe, start, end)
        files = _Files(self._find(ticker, timeframe), f"{ticker}/{timeframe}")
        tables = files.read(files.names, _span(start, end))
        rows = pa.concat_tables(sorted((table for table in tables if table.num_rows), key=_first_time) or tables)
        return assemble(
            ticker,
            timeframe,
            *arrow.arrays(rows),
            minimum_rows=self._minimum_rows,
            found=files.faults,
            stored=None if start is end is None else files.stored,
        )

    def _find(self, ticker: str, timeframe: str) -> list[Path]:
        """The dataset's files."""
        files = _files(self._root / ticker / timeframe)
        if not files and not (timeframes := self.timeframes(ticker)):
            known = ", ".join(_folders(self._root, is_ticker)[:20]) or "none"
            message = f"There are no files {ticker}/*/*.parquet under the features' directory. It has: {known}."
            raise UnusableFeatures([checks.fault("unknown_ticker", ticker, message)])
        if not files:
            message = f"{ticker} has no files of this timeframe. It has: {', '.join(timeframes)}."
            raise UnusableFeatures([checks.fault("unknown_timeframe", f"{ticker}/{timeframe}", message)])
        if astray := [file for file in files if not file.resolve().is_relative_to(self._root)]:
            message = "The file lies outside the features' directory; copy it there instead of linking to it."
            raise UnusableFeatures(
                checks.fault("outside_directory", f"{ticker}/{timeframe}/{file.name}", message) for file in astray
            )
        return files


class _Files:
    """The files of one dataset: `names` of the columns that can be read in each, and the `faults` of the others."""

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self._files, self._where = files, where
        self.faults: list[Reason] = []
        schemas = self._each(lambda file: _dataset(file).schema)
        self.faults += _schema_faults(files, schemas, where)
        self.names = sorted(set.intersection(*map(arrow.usable, schemas)))
        if checks.EVENT_TIME not in self.names:
            raise UnusableFeatures(self.faults)

    def count(self, span: pa.compute.Expression | None) -> int:
        """Rows in the span."""
        times = arrow.read_as([checks.EVENT_TIME])
        return sum(self._each(lambda file: _dataset(file, times).count_rows(filter=span)))

    def read(self, names: Sequence[str], span: pa.compute.Expression | None) -> list[pa.Table]:
        """Columns of the rows in the span, a table for each file."""
        shape = arrow.read_as(names)
        return self._each(lambda file: _dataset(file, shape).to_table(filter=span))

    def stored(self, name: str) -> Floats:
        """Every value of a column, file after file."""
        return np.concatenate([table[name].to_numpy() for table in self.read([name], None)])

    def _each(self, read: Callable[[Path], Any]) -> list[Any]:
        """What `read` makes of each file; files that it cannot read are faults, raised with those found before."""
        results, unreadable = [], []
        for file in self._files:
            try:
                results.append(read(file))
            except (pa.ArrowException, OSError) as error:
                message = f"The file cannot be read, or its values not converted: {error}"
                unreadable.append(checks.fault("unreadable_file", f"{self._where}/{file.name}", message))
        if unreadable:
            raise UnusableFeatures([*self.faults, *unreadable])
        return results


def _dataset(file: Path, shape: pa.Schema | None = None) -> pa.dataset.Dataset:
    return pa.dataset.dataset(file, schema=shape, format="parquet")


def _folders(folder: Path, is_name: Callable[[str], bool]) -> tuple[str, ...]:
    """The folders in `folder` that have such a name, sorted."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and is_name(entry.name)))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _schema_faults(files: Sequence[Path], schemas: Sequence[pa.Schema], where: str) -> Iterator[Reason]:
    """Columns that are missing, named or typed wrongly, or not in every file."""
    names = sorted({name for schema in schemas for name in schema.names})
    yield from checks.column_faults(names, where)
    for file, schema in zip(files, schemas, strict=True):
        inside = f"{where}/{file.name}"
        if lacking := sorted(set(names) - set(schema.names)):
            message = f"Other files of the dataset have columns that this one lacks: {', '.join(lacking)}."
            yield checks.fault("columns_differ", inside, message)
        yield from arrow.type_faults(schema, inside)


def _span(start: datetime | None, end: datetime | None) -> pa.compute.Expression | None:
    time = pa.compute.field(checks.EVENT_TIME)
    bounds = []
    if start is not None:
        bounds.append(time >= pa.scalar(start, arrow.INSTANT))
    if end is not None:
        bounds.append(time < pa.scalar(end, arrow.INSTANT))
    return reduce(and_, bounds) if bounds else None


def _first_time(table: pa.Table) -> int:
    first = table[checks.EVENT_TIME].cast(pa.int64())[0].as_py()
    return 0 if first is None else int(first)
