"""Columns as Arrow has them: which of them can be read, and as what."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from orchestrator.core.arrays import Floats, Times
from orchestrator.features import checks
from schemas.base import Reason

INSTANT = pa.timestamp("us", tz="UTC")


def usable(schema: pa.Schema) -> set[str]:
    """The columns of a type that can be read: times with their zone, numbers, flags."""
    return {column.name for column in schema if _has_usable_type(column)}


def type_faults(schema: pa.Schema, where: str) -> Iterator[Reason]:
    """The other columns."""
    for column in schema:
        if not _has_usable_type(column):
            message = f"Column {column.name} is of type {column.type}; it must be {_NEEDED[_is_time(column)]}."
            yield checks.fault("column_type", where, message)


def read_as(names: Iterable[str]) -> pa.Schema:
    """What usable columns of these names are converted to; a value that would change is an error."""
    return pa.schema([(name, INSTANT if name == checks.EVENT_TIME else pa.float64()) for name in names])


def arrays(rows: pa.Table) -> tuple[Times, dict[str, Floats]]:
    """The event times of rows so converted, and every other column by its name; what is null is NaT or NaN."""
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    event_time = columns.pop(checks.EVENT_TIME).astype("datetime64[us]")
    return event_time, {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}


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
