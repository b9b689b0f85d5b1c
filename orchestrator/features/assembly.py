"""Makes bars of columns, or says everything that is wrong with them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.bars import Bars
from orchestrator.features import checks
from orchestrator.features.source import UnusableFeatures
from schemas.base import Reason

MINIMUM_ROWS = 100
"""Fewer rows than these make no six folds worth training on."""


def assemble(
    ticker: str,
    timeframe: str,
    event_time: Times,
    columns: Mapping[str, Floats],
    *,
    minimum_rows: int = MINIMUM_ROWS,
    found: Sequence[Reason] = (),
    stored: Callable[[str], Floats] | None = None,
) -> Bars:
    """Bars of `columns`: prices and volume by their names, every other column a feature, in the order of their names.

    Leading rows in which a feature has not yet been finite are left out.

    Args:
        ticker: the instrument's id.
        timeframe: the bars' length.
        event_time: (n,) datetime64[us], UTC, the bars' closes.
        columns: by name, each (n,).
        minimum_rows: fewer are refused.
        found: faults that are known already.
        stored: gives all values that are stored of a feature, where `columns` has only a part of them.

    Raises:
        UnusableFeatures: there is a fault; the reasons are `found` and all others.
    """
    where = f"{ticker}/{timeframe}"
    names = sorted(set(columns) - checks.NOT_FEATURES)
    start = checks.warm_up({name: columns[name] for name in names})
    used = {name: np.ascontiguousarray(values[start:], dtype=np.float64) for name, values in columns.items()}
    times = np.ascontiguousarray(event_time[start:], dtype="datetime64[us]")
    reasons = [
        *found,
        *checks.time_faults(event_time, where),
        *checks.price_faults(times, used, where),
        *checks.feature_faults(times, {name: used[name] for name in names}, where),
        *checks.scaling_faults(names, stored or columns.__getitem__, where),
    ]
    if len(times) < minimum_rows:
        message = (
            f"{len(times)} rows are left of {len(event_time)} after a warm-up of {start}; {minimum_rows} are needed."
        )
        reasons.append(checks.fault("too_few_rows", where, message))
    if reasons:
        raise UnusableFeatures(reasons)
    return Bars(
        ticker=ticker,
        timeframe=timeframe,
        event_time=times,
        close=used["close"],
        feature_names=tuple(names),
        features=np.column_stack([used[name] for name in names]),
        data_hash=content_hash(times, used),
        open=used.get("open"),
        high=used.get("high"),
        low=used.get("low"),
        volume=used.get("volume"),
    )


def content_hash(event_time: Times, columns: Mapping[str, Floats]) -> str:
    """SHA-256 (hex) of the names, types and values of the columns, whatever order they come in."""
    digest = hashlib.sha256()
    digest.update(json.dumps(["event_time", "<i8", len(event_time)]).encode())
    digest.update(event_time.astype("datetime64[us]").astype("<i8").tobytes())
    for name in sorted(columns):
        digest.update(json.dumps([name, "<f8", len(columns[name])]).encode())
        digest.update(columns[name].astype("<f8").tobytes())
    return digest.hexdigest()
