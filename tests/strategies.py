"""Hypothesis strategies of messages, drawn from the exported JSON Schemas."""

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st

from schemas.base import Message, format_instant
from schemas.envelope import decode
from schemas.json_schema import json_schemas, message_file, topic_file
from schemas.search import SearchRequest
from schemas.ticks import FeatureTick
from schemas.topics import TOPICS, Topic

Document = dict[str, Any]
M = TypeVar("M", bound=Message)
MESSAGES: tuple[type[Message], ...] = tuple(dict.fromkeys(model for topic in TOPICS for model in topic.models))
"""Every message model of the contract."""
DOCUMENTS = json_schemas()
"""Every exported schema by file name."""


def search_requests() -> st.SearchStrategy[SearchRequest]:
    """Every search request that the schema accepts, sensible or not."""
    return messages(SearchRequest)


def feature_ticks() -> st.SearchStrategy[FeatureTick]:
    """Every tick that the schema accepts."""
    return messages(FeatureTick)


@cache
def messages(model: type[M]) -> st.SearchStrategy[M]:
    """Messages of one model."""
    return encoded(DOCUMENTS[message_file(model)]).map(lambda value: decode(model, value))


@cache
def records(topic: Topic) -> st.SearchStrategy[bytes]:
    """Good values of a topic's records."""
    return encoded(DOCUMENTS[topic_file(topic)])


def encoded(document: Document) -> st.SearchStrategy[bytes]:
    """Bytes that the schema accepts."""
    return values(document).map(lambda value: json.dumps(value, allow_nan=False).encode())


def values(document: Document) -> st.SearchStrategy[Any]:
    """JSON values that the schema accepts."""
    definitions: dict[str, st.SearchStrategy[Any]] = {}
    for name, schema in document.get("$defs", {}).items():
        definitions[name] = _later(schema, definitions)
    return _values(document, definitions)


def _moments(first: datetime, last: datetime) -> st.SearchStrategy[datetime]:
    microsecond = timedelta(microseconds=1)
    return st.integers(0, (last - first) // microsecond).map(lambda count: first + count * microsecond)


instants: st.SearchStrategy[str] = st.builds(
    lambda moment, minutes: moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat(),
    _moments(datetime(1910, 1, 2, tzinfo=UTC), datetime(2189, 12, 30, tzinfo=UTC)),
    st.integers(-14 * 60, 14 * 60),
) | _moments(datetime(1900, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)).map(format_instant)
"""RFC 3339 texts, in UTC and with offsets."""


def _later(schema: Document, definitions: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: _values(schema, definitions))


def _values(schema: Document, definitions: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "$ref" in schema:
        found = definitions[schema["$ref"].removeprefix("#/$defs/")]
        required = schema.get("required", [])
        return found.filter(lambda value: all(name in value for name in required)) if required else found
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return st.one_of([_values(alternative, definitions) for alternative in schema[union]])
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return _numbers(schema)
        case "string":
            return _texts(schema)
        case "array":
            unique = (lambda item: json.dumps(item)) if schema.get("uniqueItems") else None
            least = schema.get("minItems", 0)
            return st.lists(_values(schema["items"], definitions), min_size=least, max_size=least + 4, unique_by=unique)
    return _objects(schema, definitions)


def _numbers(schema: Document) -> st.SearchStrategy[float]:
    least = float(schema["exclusiveMinimum"] if "exclusiveMinimum" in schema else schema["minimum"])
    most = float(schema["maximum"])
    return st.floats(least, most, exclude_min="exclusiveMinimum" in schema)


def _texts(schema: Document) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return instants
    longest = schema.get("maxLength", 300)
    if "pattern" in schema:
        found = st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True)
        return found.filter(lambda text: len(text) <= longest and _is_unicode(text))
    return st.text(min_size=schema.get("minLength", 0), max_size=longest)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _objects(schema: Document, definitions: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        names = _texts({"type": "string", **schema.get("propertyNames", {})})
        return st.dictionaries(names, _values(schema["additionalProperties"], definitions), max_size=4)
    fields = {name: _values(field, definitions) for name, field in schema["properties"].items()}
    required = {name: fields[name] for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional={name: fields[name] for name in fields.keys() - required.keys()})
