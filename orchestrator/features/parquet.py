"""Bars and features in parquet files: DIRECTORY/{ticker}/{timeframe}/*.parquet (docs/features.md)."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from orchestrator.core.bars import Bars
from orchestrator.core.calendar import bar_length
from orchestrator.features import arrow, checks
from orchestrator.features.asking import check_asked, is_ticker, is_timeframe
from orchestrator.features.assembly import MINIMUM_ROWS, assemble
from orchestrator.features.files import Files, first_time, within
from orchestrator.features.source import Extent, UnusableFeatures


class ParquetFeatures:
    """A feature source over a directory of parquet files."""

    def __init__(self, directory: Path, *, minimum_rows: int = MINIMUM_ROWS) -> None:
        self._root = directory.resolve()
        self._minimum_rows = minimum_rows

    def tickers(self, timeframe: str) -> tuple[str, ...]:
        """The tickers that have files of `timeframe`, sorted; none where the directory does not exist."""
        return tuple(ticker for ticker in _folders(self._root, is_ticker) if timeframe in self.timeframes(ticker))

    def timeframes(self, ticker: str | None = None) -> tuple[str, ...]:
        """The timeframes that `ticker`, or where it is None any, has files of, shortest bar first."""
        if ticker is None:
            every = {found for each in _folders(self._root, is_ticker) for found in self.timeframes(each)}
            return tuple(sorted(every, key=bar_length))
        if not is_ticker(ticker):
            return ()
        folder = self._root / ticker
        return tuple(
            sorted((name for name in _folders(folder, is_timeframe) if any(_files(folder / name))), key=bar_length)
        )

    def extent(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Extent:
        """What `load` would read, as `FeatureSource.extent`: from the files' footers, and the times at the bounds."""
        check_asked(ticker, timeframe, start, end)
        files = Files(self.paths(ticker, timeframe), f"{ticker}/{timeframe}")
        return Extent(rows=files.count(within(start, end)), columns=len(files.names) - 1)

    def load(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """The bars from `start` (included) to `end` (excluded), as `FeatureSource.load`.

        Files are put in the order of their first bars.
        """
        check_asked(ticker, timeframe, start, end)
        files = Files(self.paths(ticker, timeframe), f"{ticker}/{timeframe}")
        tables = files.read(files.names, within(start, end))
        rows = pa.concat_tables(sorted((table for table in tables if table.num_rows), key=first_time) or tables)
        return assemble(
            ticker,
            timeframe,
            *arrow.arrays(rows),
            minimum_rows=self._minimum_rows,
            found=files.faults,
            stored=None if start is end is None else files.stored,
        )

    def paths(self, ticker: str, timeframe: str) -> list[Path]:
        """The files of a dataset, sorted by name.

        Raises:
            UnusableFeatures: there are none, or one lies outside the directory.
        """
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


def _folders(folder: Path, is_name: Callable[[str], bool]) -> tuple[str, ...]:
    """The folders in `folder` that have such a name, sorted."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and is_name(entry.name)))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))
