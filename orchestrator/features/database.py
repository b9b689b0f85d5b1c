"""Bars and features in a DuckDB file: one table `features`, a row for each bar of every dataset (docs/features.md)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import duckdb
import pyarrow as pa

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import bar_length
from orchestrator.features import arrow, checks
from orchestrator.features.asking import check_asked, is_ticker, is_timeframe
from orchestrator.features.assembly import MINIMUM_ROWS, assemble
from orchestrator.features.source import Extent, UnusableFeatures

KEYS = ("ticker", "timeframe")
"""The columns that say to which dataset a row belongs."""

_COLUMNS = "SELECT * FROM features LIMIT 0"
_TICKERS = "SELECT DISTINCT ticker FROM features"
_TICKERS_OF = "SELECT DISTINCT ticker FROM features WHERE timeframe = $timeframe"
_TIMEFRAMES = "SELECT DISTINCT timeframe FROM features WHERE $ticker::VARCHAR IS NULL OR ticker = $ticker"
_VALUES = "SELECT count(COLUMNS(*)) FROM features WHERE ticker = $ticker AND timeframe = $timeframe"
_ROWS = """
    SELECT * FROM features
    WHERE ticker = $ticker AND timeframe = $timeframe
      AND ($start::TIMESTAMPTZ IS NULL OR event_time >= $start::TIMESTAMPTZ)
      AND ($end::TIMESTAMPTZ IS NULL OR event_time < $end::TIMESTAMPTZ)
"""


class DuckDBFeatures:
    """A feature source over a DuckDB file, which is open only while it is read: in between, others may write to it."""

    def __init__(self, path: Path, *, minimum_rows: int = MINIMUM_ROWS) -> None:
        self._path = path.resolve()
        self._minimum_rows = minimum_rows

    def tickers(self, timeframe: str) -> tuple[str, ...]:
        """The tickers that have rows of `timeframe`, sorted; none where the file does not exist.

        Raises:
            UnusableFeatures: the file cannot be read.
        """
        if not self._path.exists():
            return ()
        with self._open() as (connection, _):
            return tuple(sorted(_names(connection, _TICKERS_OF, is_ticker, timeframe=timeframe)))

    def timeframes(self, ticker: str | None = None) -> tuple[str, ...]:
        """The timeframes that `ticker`, or where it is None any, has rows of, shortest bar first.

        None where the file does not exist.

        Raises:
            UnusableFeatures: the file cannot be read.
        """
        if not self._path.exists():
            return ()
        with self._open() as (connection, _):
            return tuple(sorted(_names(connection, _TIMEFRAMES, is_timeframe, ticker=ticker), key=bar_length))

    def extent(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Extent:
        """What `load` would read, as `FeatureSource.extent`: counted by the database."""
        check_asked(ticker, timeframe, start, end)
        with self._open(f"{ticker}/{timeframe}/") as (connection, schema):
            rows = _Rows(connection, schema, ticker, timeframe, self._path.name)
            return Extent(rows=rows.count(start, end), columns=len(rows.names) - 1)

    def load(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """The bars from `start` (included) to `end` (excluded), as `FeatureSource.load`.

        Rows have no order in a table: they are put in that of their times. A column without a value in any row of the
        dataset is none of its columns.
        """
        check_asked(ticker, timeframe, start, end)
        with self._open(f"{ticker}/{timeframe}/") as (connection, schema):
            rows = _Rows(connection, schema, ticker, timeframe, self._path.name)
            return assemble(
                ticker,
                timeframe,
                *arrow.arrays(rows.read(rows.names, start, end)),
                minimum_rows=self._minimum_rows,
                found=rows.faults,
                stored=None if start is end is None else rows.stored,
            )

    @contextmanager
    def _open(self, inside: str = "") -> Iterator[tuple[duckdb.DuckDBPyConnection, pa.Schema]]:
        """A connection, and the columns of the table; whatever it cannot do is a fault of the file."""
        where = f"{inside}{self._path.name}"
        try:
            with duckdb.connect(self._path, read_only=True, config={"enable_external_access": False}) as connection:
                schema = connection.sql(_COLUMNS).to_arrow_table().schema
                if lacking := set(KEYS) - set(schema.names):
                    message = f"Its table features lacks the columns: {', '.join(sorted(lacking))}."
                    raise UnusableFeatures([checks.fault("no_features_table", where, message)])
                yield connection, schema
        except duckdb.CatalogException as error:
            message = f"The file has no table of the name features. DuckDB says: {error}"
            raise UnusableFeatures([checks.fault("no_features_table", where, message)]) from error
        except (duckdb.Error, pa.ArrowException) as error:
            message = (
                "The file cannot be read, or its values not converted; while a program has it open to write, no other "
                f"can read it. DuckDB says: {error}"
            )
            raise UnusableFeatures([checks.fault("unreadable_file", where, message)]) from error


class _Rows:
    """The rows of one dataset: `names` of the columns that can be read, and the `faults` of the others."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, schema: pa.Schema, ticker: str, timeframe: str, file: str
    ) -> None:
        self._connection = connection
        self._asked = {"ticker": ticker, "timeframe": timeframe}
        (counts,) = connection.execute(_VALUES, self._asked).fetchall()
        values = dict(zip(schema.names, counts, strict=True))
        if not values["ticker"]:
            self._refuse(ticker, timeframe)
        present = [
            name for name, filled in values.items() if (filled and name not in KEYS) or name == checks.EVENT_TIME
        ]
        columns = pa.schema([schema.field(name) for name in present])
        where = f"{ticker}/{timeframe}"
        self.faults = [
            *checks.column_faults(sorted(present), where),
            *arrow.type_faults(columns, f"{where}/{file}"),
        ]
        self.names = sorted(arrow.usable(columns))
        if checks.EVENT_TIME not in self.names:
            raise UnusableFeatures(self.faults)

    def count(self, start: datetime | None, end: datetime | None) -> int:
        """Rows in the span."""
        return len(self._within(start, end))

    def read(self, names: Sequence[str], start: datetime | None, end: datetime | None) -> pa.Table:
        """Columns of the rows in the span, in the order of time."""
        rows = self._within(start, end).select(*map(duckdb.col, names)).order(duckdb.col(checks.EVENT_TIME))
        return rows.to_arrow_table().cast(arrow.read_as(names))

    def stored(self, name: str) -> Floats:
        """Every value of a column, in the order of time."""
        return arrow.arrays(self.read([checks.EVENT_TIME, name], None, None))[1][name]

    def _within(self, start: datetime | None, end: datetime | None) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(_ROWS, params={**self._asked, "start": start, "end": end})

    def _refuse(self, ticker: str, timeframe: str) -> NoReturn:
        """There is no row."""
        if timeframes := sorted(_names(self._connection, _TIMEFRAMES, is_timeframe, ticker=ticker), key=bar_length):
            message = f"{ticker} has no rows of this timeframe. It has: {', '.join(timeframes)}."
            raise UnusableFeatures([checks.fault("unknown_timeframe", f"{ticker}/{timeframe}", message)])
        known = ", ".join(sorted(_names(self._connection, _TICKERS, is_ticker))[:20]) or "none"
        message = f"There are no rows of this ticker in the table features. It has: {known}."
        raise UnusableFeatures([checks.fault("unknown_ticker", ticker, message)])


def _names(
    connection: duckdb.DuckDBPyConnection, query: str, is_name: Callable[[str], bool], **asked: str | None
) -> list[str]:
    """What the query finds and may be called so."""
    return [name for (name,) in connection.execute(query, asked).fetchall() if is_name(name)]
