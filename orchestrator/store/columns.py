"""Column types: what the tables hold beyond text and numbers."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from sqlalchemy import JSON, DateTime, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware time, kept and given back in UTC with microseconds.

    Raises:
        ValueError: on writing a time without an offset.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"the time {value.isoformat()} carries no UTC offset")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite keeps no offset; everything in it was turned to UTC on the way in.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A value of the given shape (a message part, or tuples and dicts of them) as JSON; None is SQL's NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__(none_as_null=True)
        self.shape = shape
        self._adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self._adapter.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        # Strictness is for what comes off the wire; JSON has no tuples, so what was written here is read laxly.
        return None if value is None else self._adapter.validate_python(value, strict=False)


class Array(TypeDecorator[npt.NDArray[Any]]):
    """A NumPy array of numbers in NumPy's own file format, which keeps dtype and shape and can carry no code."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: npt.NDArray[Any] | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        stream = io.BytesIO()
        np.save(stream, value, allow_pickle=False)
        return stream.getvalue()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> npt.NDArray[Any] | None:
        return None if value is None else np.load(io.BytesIO(value), allow_pickle=False)
