"""Bars and features in parquet files: DIRECTORY/{ticker}/{timeframe}/*.parquet (docs/features.md)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
from pydantic import TypeAdapter, ValidationError

from orchestrator.core.bars import Bars
from orchestrator.core.calendar import bar_length
from orchestrator.features import checks
from orchestrator.features.assembly import MINIMUM_ROWS, assemble
from orchestrator.features.source import UnusableFeatures
from schemas.base import Reason, Ticker, Timeframe

INSTANT = pa.timestamp("us", tz="UTC")

_TICKER: TypeAdapter[str] = TypeAdapter(Ticker)
_TIMEFRAME: TypeAdapter[str] = TypeAdapter(Timeframe)


class ParquetFeatures:
    """A feature source over a directory of parquet files."""

    def __init__(self, directory: Path, *, minimum_rows: int = MINIMUM_ROWS) -> None:
        self._root = directory.resolve()
        self._minimum_rows = minimum_rows

    def tickers(self, timeframe: str) -> tuple[str, ...]:
        """The tickers that have files of `timeframe`, sorted; none where the directory does not exist."""
        return tuple(ticker for ticker in _folders(self._root, _TICKER) if timeframe in self.timeframes(ticker))

    def timeframes(self, ticker: str) -> tuple[str, ...]:
        """The timeframes that `ticker` has files of, shortest bar first."""
        if not _is_valid(_TICKER, ticker):
            return ()
        folder = self._root / ticker
        return tuple(
            sorted((name for name in _folders(folder, _TIMEFRAME) if any(_files(folder / name))), key=bar_length)
        )

    def load(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """The bars from `start` (included) to `end` (excluded), as `FeatureSource.load`.

        Files are put in the order of their first bars. What is wrong with rows outside the span does not count.

        Raises:
            UnusableFeatures: there are no such files, or something is wrong in them; every fault at once.
            ValueError: `start` or `end` is naive.
        """
        if any(bound is not None and bound.tzinfo is None for bound in (start, end)):
            raise ValueError("start and end must carry a UTC offset")
        where = f"{ticker}/{timeframe}"
        files = self._find(ticker, timeframe)
        schemas = _each(files, where, lambda file: pa.dataset.dataset(file, format="parquet").schema)
        found = list(_schema_faults(files, schemas, where))
        names = _usable(schemas)
        if checks.EVENT_TIME not in names:
            raise UnusableFeatures(found)
        shape = pa.schema([(name, INSTANT if name == checks.EVENT_TIME else pa.float64()) for name in names])
        span = _span(start, end)
        tables = _each(
            files,
            where,
            lambda file: pa.dataset.dataset(file, schema=shape, format="parquet").to_table(names, filter=span),
            found,
        )
        rows = pa.concat_tables(sorted((table for table in tables if table.num_rows), key=_first_time) or tables)
        event_time = rows[checks.EVENT_TIME].to_numpy().astype("datetime64[us]")
        columns = {name: rows[name].to_numpy() for name in names if name != checks.EVENT_TIME}
        return assemble(ticker, timeframe, event_time, columns, minimum_rows=self._minimum_rows, found=found)

    def _find(self, ticker: str, timeframe: str) -> list[Path]:
        """The dataset's files; names that are no names never become a path."""
        faults = []
        if not _is_valid(_TICKER, ticker):
            faults.append(checks.fault("invalid_ticker", ticker, "No ticker is written like this."))
        if not _is_valid(_TIMEFRAME, timeframe):
            message = "A timeframe is a number and one of s, m, h, d, w, such as 5m or 1d."
            faults.append(checks.fault("invalid_timeframe", timeframe, message))
        if faults:
            raise UnusableFeatures(faults)
        files = _files(self._root / ticker / timeframe)
        if not files and not (timeframes := self.timeframes(ticker)):
            known = ", ".join(_folders(self._root, _TICKER)[:20]) or "none"
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


def _folders(folder: Path, names: TypeAdapter[str]) -> tuple[str, ...]:
    """The folders in `folder` that have such a name, sorted."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _is_valid(names, entry.name)))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _is_valid(names: TypeAdapter[str], name: str) -> bool:
    try:
        names.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True


def _each(files: Sequence[Path], where: str, read: Callable[[Path], Any], found: Sequence[Reason] = ()) -> list[Any]:
    """What `read` makes of each file; the files that it cannot read are faults, raised with those `found` before."""
    results, faults = [], []
    for file in files:
        try:
            results.append(read(file))
        except (pa.ArrowException, OSError) as error:
            message = f"The file cannot be read, or its values not converted: {error}"
            faults.append(checks.fault("unreadable_file", f"{where}/{file.name}", message))
    if faults:
        raise UnusableFeatures([*found, *faults])
    return results


def _schema_faults(files: Sequence[Path], schemas: Sequence[pa.Schema], where: str) -> Iterator[Reason]:
    """Columns that are missing, named or typed wrongly, or not in every file."""
    names = sorted({name for schema in schemas for name in schema.names})
    yield from checks.column_faults(names, where)
    for file, schema in zip(files, schemas, strict=True):
        inside = f"{where}/{file.name}"
        if lacking := sorted(set(names) - set(schema.names)):
            message = f"Other files of the dataset have columns that this one lacks: {', '.join(lacking)}."
            yield checks.fault("columns_differ", inside, message)
        for column in schema:
            if not _has_usable_type(column):
                message = f"Column {column.name} is of type {column.type}; it must be {_NEEDED[_is_time(column)]}."
                yield checks.fault("column_type", inside, message)


_NEEDED = {True: "a timestamp with a time zone, such as UTC", False: "a number"}


def _is_time(column: pa.Field) -> bool:
    return bool(column.name == checks.EVENT_TIME)


def _has_usable_type(column: pa.Field) -> bool:
    kind = column.type
    if _is_time(column):
        return pa.types.is_timestamp(kind) and kind.tz is not None
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    )


def _usable(schemas: Sequence[pa.Schema]) -> list[str]:
    """The columns that are in every file and of a usable type in each."""
    return sorted(
        set.intersection(*({column.name for column in schema if _has_usable_type(column)} for schema in schemas))
    )


def _span(start: datetime | None, end: datetime | None) -> pa.compute.Expression | None:
    time = pa.compute.field(checks.EVENT_TIME)
    bounds = []
    if start is not None:
        bounds.append(time >= pa.scalar(start, INSTANT))
    if end is not None:
        bounds.append(time < pa.scalar(end, INSTANT))
    return reduce(and_, bounds) if bounds else None


def _first_time(table: pa.Table) -> int:
    first = table[checks.EVENT_TIME].cast(pa.int64())[0].as_py()
    return 0 if first is None else int(first)
