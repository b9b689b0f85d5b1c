"""Makes small datasets, which a test plants its faults in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

ROWS = 150
DAY = np.timedelta64(1, "D")
FIRST = np.datetime64("2020-01-01T21:00:00", "us")


def sound_columns(rows: int = ROWS, seed: int = 3) -> dict[str, Any]:
    """Columns that nothing is wrong with: times, all prices, volume and two features, of which b has 5 warm-up rows."""
    rng = np.random.default_rng(seed)
    b = rng.normal(size=rows)
    b[:5] = np.nan
    prices = {name: 100.0 + rng.random(rows) for name in ("open", "high", "low", "close")}
    return {
        "event_time": FIRST + DAY * np.arange(rows),
        **prices,
        "volume": rng.random(rows),
        "a": rng.normal(size=rows),
        "b": b,
    }


def as_table(columns: Mapping[str, Any]) -> pa.Table:
    """The columns as an Arrow table; times are UTC unless they are Arrow arrays already."""
    return pa.table(
        {
            name: pa.array(values, pa.timestamp("us", tz="UTC"))
            if isinstance(values, np.ndarray) and values.dtype.kind == "M"
            else values
            for name, values in columns.items()
        }
    )


def write(
    directory: Path,
    columns: Mapping[str, Any],
    name: str = "bars",
    *,
    ticker: str = "ABC",
    timeframe: str = "1d",
    **options: Any,
) -> None:
    """Write DIRECTORY/{ticker}/{timeframe}/{name}.parquet."""
    folder = directory / ticker / timeframe
    folder.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(as_table(columns), folder / f"{name}.parquet", **options)
