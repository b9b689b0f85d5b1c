"""Bytes to messages and back, and the CloudEvents headers beside them.

The decoder accepts exactly the values that the exported JSON Schemas accept, on strict JSON (RFC 8259).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypeForm

from schemas.base import Message, Reason, format_instant, parse_instant
from schemas.faults import reasons_of
from schemas.trace_context import TRACEPARENT, TraceContext, parse_traceparent

NESTING_LIMIT = 200
"""A value inside more arrays and objects than this is not read."""
CONTENT_TYPE = b"application/json"
_SPECVERSION, _CONTENT = ("ce_specversion", b"1.0"), ("content-type", CONTENT_TYPE)
_LONGEST_HEADER = 256
_M = TypeVar("_M", bound=Message)

Headers = list[tuple[str, bytes]]


class Undecodable(Exception):
    """A record's value is not a message of its topic; `reasons` has one entry per fault."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        super().__init__("; ".join(f"{reason.where or 'the message'}: {reason.message}" for reason in reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Envelope:
    """What a record's headers say of it; None where they are absent or malformed."""

    message_id: str | None = None
    type: str | None = None
    source: str | None = None
    time: datetime | None = None
    trace: TraceContext | None = None


def encode(message: Message) -> bytes:
    """Write a message as UTF-8 JSON, nulls and defaults included."""
    return message.model_dump_json().encode()


@overload
def decode(model: TypeForm[_M], value: bytes | None) -> _M: ...
@overload
def decode(model: object, value: bytes | None) -> Any: ...
def decode(model: Any, value: bytes | None) -> Any:
    """Read a record's value.

    Args:
        model: a message model, or a discriminated union of them, such as `schemas.commands.Command`.
        value: the bytes; None is a tombstone, which no message is.

    Raises:
        Undecodable: with the code `no_value`, `not_utf8`, `not_json` or `schema`, all faults at once.
    """
    if value is None:
        raise Undecodable((Reason(code="no_value", message="the record has no value: send a JSON object"),))
    try:
        document = from_json(value, allow_inf_nan=False)
    except ValueError as fault:
        raise Undecodable((_unreadable(value, fault),)) from fault
    adapter = _adapter(model)
    with suppress(ValidationError):
        return adapter.validate_json(value)
    # Of a repeated name only the last value counts, as in other parsers; above, the earlier ones are judged as well.
    try:
        return adapter.validate_json(to_json(document, inf_nan_mode="constants"))
    except ValidationError as fault:
        raise Undecodable(reasons_of(fault, document)) from fault


def headers_of(
    message: Message, *, message_id: str, source: str, time: datetime, traceparent: str | None = None
) -> Headers:
    """CloudEvents 1.0 headers in Kafka's binary mode, and the trace's `traceparent` where there is one.

    Args:
        message: gives the type.
        message_id: unique within `source`; the same when the same event is sent again.
        source: a URI reference, such as `/orchestrator`.
        time: when the event happened.
        traceparent: W3C trace context.
    """
    trace = None if traceparent is None else traceparent.encode()
    return written_headers(message_id, message.TYPE, source.encode(), format_instant(time).encode(), trace)


def written_headers(message_id: str, kind: str, source: bytes, time: bytes, traceparent: bytes | None) -> Headers:
    """The headers of `headers_of`, of what is written already."""
    headers = [
        _SPECVERSION,
        ("ce_id", message_id.encode()),
        ("ce_type", kind.encode()),
        ("ce_source", source),
        ("ce_time", time),
        _CONTENT,
    ]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    return headers


def read_headers(headers: Iterable[tuple[str, bytes | None]] | None) -> Envelope:
    """What the headers say; the last of a name counts. Headers never make a message bad: its value does."""
    found = {name.lower(): text for name, value in headers or () if (text := _text(value)) is not None}
    return Envelope(
        message_id=found.get("ce_id"),
        type=found.get("ce_type"),
        source=found.get("ce_source"),
        time=_instant(found.get("ce_time")),
        trace=parse_traceparent(found.get(TRACEPARENT, "")),
    )


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _unreadable(value: bytes, fault: ValueError) -> Reason:
    try:
        value.decode()
    except UnicodeDecodeError as broken:
        return Reason(code="not_utf8", message=f"byte {broken.start} is not UTF-8: send JSON in UTF-8")
    return Reason(code="not_json", message=f"the value is not JSON (RFC 8259): {fault}")


def _text(value: bytes | None) -> str | None:
    if not value or len(value) > _LONGEST_HEADER:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _instant(text: str | None) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except ValueError:
        return None
