"""What every message on the wire is made of: the frozen base models and the field types they share.

The types carry their whole rule in their JSON Schema, so that a validator in any language judges a message exactly as
this package does.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

INSTANT_PATTERN = (
    r"^(19|2[01])\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-](0\d|1[0-4]):[0-5]\d)$"
)
_INSTANT = re.compile(INSTANT_PATTERN, re.ASCII)
LARGEST_FLOAT = 1.7976931348623157e308
LARGEST_INTEGER = 2**53 - 1


def parse_instant(value: object) -> datetime:
    """Read an RFC 3339 time as UTC with microseconds.

    Args:
        value: a string with an offset, or an aware datetime.

    Raises:
        ValueError: the string is not RFC 3339, has no offset, or the datetime is naive.
    """
    if isinstance(value, str):
        if not _INSTANT.fullmatch(value):
            raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-15T21:00:00.000000Z")
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-15T21:00:00.000000Z")
    if value.tzinfo is None:
        raise ValueError("must carry a UTC offset")
    return value.astimezone(UTC)


def format_instant(value: datetime) -> str:
    """Write an aware datetime as RFC 3339, UTC, always with six digits of microseconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is the integer 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}),
]
Number = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]
Integer = Annotated[int, BeforeValidator(_whole), Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Sequence = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_INTEGER)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=1_000_000_000)]

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
AlgorithmName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Ticker = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,16}([._=-][A-Za-z0-9]{1,16}){0,2}$")]
Timeframe = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}[smhdw]$")]
FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Scalar = bool | Integer | Number | ShortText
"""A hyper-parameter's value."""

Mode = Literal["live", "replay", "shadow", "paper"]
Voting = Literal["hard", "soft"]


class Message(BaseModel):
    """A message: frozen, strict, with a version of its own shape.

    Readers ignore fields they do not know, so that fields can be added while versions roll.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )
    TYPE: ClassVar[str]
    """The CloudEvents type (`ce_type`)."""

    schema_version: Literal[1] = 1


class Instruction(Message):
    """A request or command: what it does not know, it refuses, since a misspelt option must not be silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True
    )


class StrictPart(Part):
    """A piece of a request or command; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Reason(Part):
    """Why something was refused, or did not happen: a stable code, where, and a sentence that says what to do."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    where: ShortText = ""
    message: Text


JsonObject = dict[str, Any]
