"""What every message on the wire is made of: the frozen base models and the field types they share.

The types carry their whole rule in their JSON Schema, so that a validator in any language judges a message exactly as
this package does.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeAliasType

# An offset moves a time by less than a day: the years that may carry one are narrower, so that every accepted time is
# accepted again when it is written in UTC.
_FIRST_YEAR, _LAST_YEAR = 1900, 2199
_UTC_YEAR, _LOCAL_YEAR = "(19|2[01])[0-9]{2}", "(19[1-9]|20[0-9]|21[0-8])[0-9]"
_REST = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
INSTANT_PATTERN = f"^({_UTC_YEAR}{_REST}Z|{_LOCAL_YEAR}{_REST}[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
_INSTANT = re.compile(INSTANT_PATTERN)
_NOT_AN_INSTANT = "must be an RFC 3339 time with an offset, such as 2026-01-15T21:00:00.000000Z"
LARGEST_FLOAT = 1.7976931348623157e308
LARGEST_INTEGER = 2**53 - 1
"""Above it, a parser that reads numbers as doubles (most do) loses digits."""
LARGEST_COUNT = 1_000_000_000
SHORT_TEXT = 256
NO_NUL = r"^[^\x00]*$"
JsonObject = dict[str, Any]


def parse_instant(value: object) -> datetime:
    """Read an RFC 3339 time as UTC with microseconds.

    Args:
        value: a string with an offset, or an aware datetime, of the years 1900 to 2199.

    Raises:
        ValueError: the string is not RFC 3339, has no offset, or the datetime is naive or of another year.
    """
    if isinstance(value, str):
        if not _INSTANT.fullmatch(value):
            raise ValueError(_NOT_AN_INSTANT)
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError(_NOT_AN_INSTANT)
    if value.tzinfo is None:
        raise ValueError("must carry a UTC offset")
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"must be of the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return value.astimezone(UTC)


def format_instant(value: datetime) -> str:
    """Write an aware datetime as RFC 3339, UTC, always with six digits of microseconds."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is the integer 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> object:
    """Python takes True for the literal 1; JSON does not."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return _whole(value)


def _scalar(value: object) -> object:
    """Judge a scalar whole, so that a bad one is one fault, not one for each kind of value that it is not."""
    if isinstance(value, str) and len(value) <= SHORT_TEXT and "\0" not in value:
        return value
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER):
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST_FLOAT:
        return _shortest(float(value))
    raise ValueError(f"must be true, false, a number, or text without NUL of at most {SHORT_TEXT} characters")


def _shortest(value: float) -> float:
    """A whole number that a double holds exactly becomes an integer, so that 1 and 1.0 stay the same value."""
    return int(value) if value.is_integer() and abs(value) <= LARGEST_INTEGER else value


def _json(value: object, where: str = "") -> object:
    """Judge free-form JSON up to its first fault: its size must not decide how much there is to say of it."""
    if isinstance(value, list | tuple):
        return tuple(_json(item, f"{where}/{index}") for index, item in enumerate(value))
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str) or len(name) > SHORT_TEXT or "\0" in name:
                raise ValueError(f"{where or 'here'} has a name with NUL or of more than {SHORT_TEXT} characters")
        return {name: _json(item, f"{where}/{name}") for name, item in value.items()}
    if value is None or isinstance(value, bool) or (isinstance(value, str) and "\0" not in value):
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST_FLOAT:
        return value
    raise ValueError(f"{where or 'it'} must be JSON: a number is finite, a text has no NUL")


class _Scalar:
    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_scalar)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        number = {"type": "number", "minimum": -LARGEST_FLOAT, "maximum": LARGEST_FLOAT}
        text = {"type": "string", "maxLength": SHORT_TEXT, "pattern": NO_NUL}
        return {"anyOf": [{"type": "boolean"}, number, text]}


class _FreeForm:
    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        shape = handler.generate_schema(JsonShape)
        return core_schema.no_info_before_validator_function(
            _json, core_schema.any_schema(), json_schema_input_schema=shape
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        # What is written has the shape of what is read.
        return handler(cast(JsonObject, schema)["json_schema_input_schema"])


@dataclass(frozen=True)
class Whole:
    """Annotates an int: from `low` to `high`, both included; 3.0 is taken as 3, as JSON Schema does."""

    low: int
    high: int

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # The bounds sit on the integer itself: around the validator, they would be lost from the JSON Schema.
        integer = core_schema.int_schema(strict=True, ge=self.low, le=self.high)
        return core_schema.no_info_before_validator_function(_whole, integer)


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}),
]
Number = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]
Integer = Annotated[int, Whole(-LARGEST_INTEGER, LARGEST_INTEGER)]
Sequence = Annotated[int, Whole(0, LARGEST_INTEGER)]
Count = Annotated[int, Whole(0, LARGEST_COUNT)]
Version = Annotated[int, Whole(1, LARGEST_COUNT)]
SchemaVersion = Annotated[Literal[1], BeforeValidator(_number)]
Position = Annotated[Literal[-1, 0, 1], BeforeValidator(_number)]

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
AlgorithmName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Ticker = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,16}([._=-][A-Za-z0-9]{1,16}){0,2}$")]
Timeframe = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}[smhdw]$")]
FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
StorableText = Annotated[str, StringConstraints(pattern=NO_NUL)]
"""No NUL: PostgreSQL does not store it."""
ShortText = Annotated[StorableText, StringConstraints(max_length=SHORT_TEXT)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Scalar = Annotated[bool | int | float | str, _Scalar()]
"""A hyper-parameter's value: true or false, a number, or a short text."""
JsonShape = TypeAliasType(
    "JsonShape", "bool | Number | StorableText | tuple[JsonShape, ...] | dict[ShortText, JsonShape] | None"
)
Json = Annotated[Any, _FreeForm()]
"""Any JSON value; arrays are read as tuples."""

Mode = Literal["live", "replay", "shadow", "paper"]
Voting = Literal["hard", "soft"]


def pattern_of(text: Any) -> str:
    """The regular expression of one of the text types above."""
    (pattern,) = (each.pattern for each in get_args(text)[1:] if isinstance(each, StringConstraints))
    return str(pattern)


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

    schema_version: SchemaVersion = 1


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

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
