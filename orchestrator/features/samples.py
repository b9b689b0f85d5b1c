"""Real daily prices to try things out on, from `bokeh_sampledata`: four shares, March 2000 to March 2013."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from orchestrator.core.arrays import Times
from orchestrator.core.calendar import calendar_named
from orchestrator.core.errors import Refused
from orchestrator.features.checks import fault
from orchestrator.features.indicators import Prices, indicators

SAMPLE_TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")
"""All that have more than 2,000 bars; GOOG begins in August 2004."""
SAMPLE_TIMEFRAME = "1d"
SURVIVORSHIP_NOTE = (
    "The sample prices are those of four companies that were picked after they had become large: survivors. "
    "What a strategy earns on them says nothing about what it would have earned on shares picked at the time."
)


class SamplesUnavailable(Refused):
    """The sample prices cannot be had."""


def write_samples(directory: Path, tickers: Sequence[str] = SAMPLE_TICKERS) -> dict[str, int]:
    """Write DIRECTORY/{ticker}/1d/bars.parquet: adjusted bars with every feature of `indicators`, NaN for its warm-up.

    The same package version gives the same bytes; an existing file is replaced at once, never seen half written.

    Returns:
        Bars by ticker.

    Raises:
        SamplesUnavailable: the package is not installed, has no such ticker, or has a bar on a day without a session.
    """
    found = {ticker: sample_bars(ticker) for ticker in tickers}
    return {ticker: write_bars(directory, ticker, closes, bars) for ticker, (closes, bars) in found.items()}


def write_bars(directory: Path, ticker: str, closes: Times, bars: Prices) -> int:
    """Write DIRECTORY/{ticker}/1d/bars.parquet, and return how many bars it has; otherwise as `write_samples`."""
    table = _table(closes, bars)
    folder = directory / ticker / SAMPLE_TIMEFRAME
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".bars.{os.getpid()}"
    pa.parquet.write_table(table, unfinished)
    unfinished.replace(folder / "bars.parquet")
    return int(table.num_rows)


def sample_bars(ticker: str) -> tuple[Times, Prices]:
    """A sample ticker's session closes (UTC) and bars, adjusted for splits and dividends.

    Raises:
        SamplesUnavailable: as `write_samples`.
    """
    try:
        stocks: Any = import_module("bokeh_sampledata.stocks")
    except ModuleNotFoundError as error:
        message = "The package bokeh-sampledata is not installed: pip install 'ray-orchestrator[samples]'."
        raise SamplesUnavailable([fault("samples_missing", ticker, message)]) from error
    if ticker not in SAMPLE_TICKERS:
        message = f"There are no sample prices of this ticker. Choose of: {', '.join(SAMPLE_TICKERS)}."
        raise SamplesUnavailable([fault("unknown_sample", ticker, message)])
    columns = getattr(stocks, ticker)
    return session_closes(columns["date"], ticker), adjusted(columns)


def switched_bars(before: str, after: str, at: np.datetime64) -> tuple[Times, Prices]:
    """The bars of one sample ticker, and from the session that closes at `at` on those of another, without a jump.

    Args:
        before: the first ticker.
        after: the second; it has a bar before `at`, at whose close the two are joined.
        at: a session's close, UTC.

    Raises:
        SamplesUnavailable: as `sample_bars`.
    """
    closes, bars = sample_bars(before)
    later, others = sample_bars(after)
    first, second = int(np.searchsorted(closes, at)), int(np.searchsorted(later, at))
    scale = bars.close[first - 1] / others.close[second - 1]
    joined = {
        name: np.concatenate([getattr(bars, name)[:first], getattr(others, name)[second:] * factor])
        for name, factor in {**dict.fromkeys(("open", "high", "low", "close"), scale), "volume": 1.0 / scale}.items()
    }
    return np.concatenate([closes[:first], later[second:]]), Prices(**joined)


def adjusted(columns: Mapping[str, Sequence[float]]) -> Prices:
    """Bars whose prices are scaled by adj_close / close, so that splits and dividends are no returns.

    Volume is divided by the same factor: the money that changed hands stays what it was.
    """
    values = {name: np.asarray(columns[name], dtype=np.float64) for name in (*Prices.__annotations__, "adj_close")}
    factor = values["adj_close"] / values["close"]
    return Prices(
        open=values["open"] * factor,
        high=values["high"] * factor,
        low=values["low"] * factor,
        close=values["close"] * factor,
        volume=values["volume"] / factor,
    )


def session_closes(dates: Sequence[str], ticker: str) -> Times:
    """When the New York session of each date (YYYY-MM-DD, ascending) closes, in UTC; early closes included.

    Raises:
        SamplesUnavailable: a date has no session. Its bar is not dropped or moved: then the dates are not New York's.
    """
    first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (dates[0], dates[-1]))
    closes = calendar_named("XNYS").session_closes(first, last + timedelta(days=1))
    days = np.asarray(dates, dtype="datetime64[D]")
    # New York closes before midnight UTC, so that a close and its session have one date.
    place = np.minimum(np.searchsorted(closes.astype("datetime64[D]"), days), len(closes) - 1)
    strange = days[closes[place].astype("datetime64[D]") != days]
    if strange.size:
        message = f"New York had no session on: {', '.join(map(str, strange[:20]))}."
        raise SamplesUnavailable([fault("no_session", ticker, message)])
    return closes[place]


def _table(closes: Times, bars: Prices) -> pa.Table:
    columns = {"event_time": pa.array(closes, pa.timestamp("us", tz="UTC"))}
    columns |= {name: pa.array(getattr(bars, name)) for name in Prices.__annotations__}
    columns |= {name: pa.array(values) for name, values in indicators(bars).items()}
    return pa.table(columns)
