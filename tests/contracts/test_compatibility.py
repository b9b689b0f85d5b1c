"""No breaking change since any release; and the checker that says so catches every kind of breaking change."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from schemas.compatibility import breaking_changes
from schemas.json_schema import Direction
from tests.strategies import DOCUMENTS, Document, values

pytestmark = pytest.mark.slow

RELEASED = sorted((Path(schemas.__file__).parent / "generated" / "released").glob("*/*.json"))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_released_schema_is_broken(path: Path) -> None:
    released = json.loads(path.read_text(encoding="utf-8"))
    assert path.name in DOCUMENTS, f"{path.name} was released and is gone"
    current = DOCUMENTS[path.name]
    assert current["x-service"] == released["x-service"]
    found = breaking_changes(released, current, released["x-service"])
    assert not found, "\n".join(["A breaking change needs a new message or topic (docs/contract.md):", *found])


def test_every_topic_has_a_released_schema() -> None:
    assert {path.name for path in RELEASED} >= {name for name in DOCUMENTS if name.startswith("topic.")}


BASE: Document = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 8, "pattern": "^[a-z]*$"},
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
        "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "side": {"enum": ["buy", "sell"], "type": "string"},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3, "uniqueItems": True},
        "by_name": {"type": "object", "additionalProperties": {"type": "number"}, "propertyNames": {"maxLength": 4}},
        "time": {"type": "string", "format": "date-time"},
        "part": {"$ref": "#/$defs/Part"},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "$defs": {
        "Part": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "Tree": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]},
    },
}


def edited(path: str, value: Any) -> Document:
    """BASE with the value at a path replaced; None removes it."""
    document = copy.deepcopy(BASE)
    *parents, last = (int(step) if step.isdigit() else step for step in path.split("."))
    found: Any = document
    for step in parents:
        found = found[step]
    if value is None:
        del found[last]
    else:
        found[last] = value
    return document


NARROWED = {
    "id is shorter": ("properties.id.maxLength", 7),
    "id is longer": ("properties.id.minLength", 2),
    "size starts higher": ("properties.size.minimum", 2),
    "size ends lower": ("properties.size.maximum", 8),
    "rate starts higher": ("properties.rate.exclusiveMinimum", 0.1),
    "rate is whole": ("properties.rate.type", "integer"),
    "side has a value less": ("properties.side.enum", ["buy"]),
    "side is one value": ("properties.side", {"const": "buy"}),
    "note cannot be null": ("properties.note.anyOf", [{"type": "string", "maxLength": 9}]),
    "note is shorter": ("properties.note.anyOf", [{"type": "string", "maxLength": 8}, {"type": "null"}]),
    "tags are more": ("properties.tags.minItems", 2),
    "tags are fewer": ("properties.tags.maxItems", 2),
    "names are shorter": ("properties.by_name.propertyNames.maxLength", 3),
    "named values are whole": ("properties.by_name.additionalProperties", {"type": "integer"}),
    "named values are fewer": ("properties.by_name.maxProperties", 3),
    "part x is bounded": ("$defs.Part.properties.x.minimum", 0),
    "part is closed": ("$defs.Part.additionalProperties", False),
    "part y is required": ("$defs.Part.required", ["x", "y"]),
    "tree is no longer a tree": ("$defs.Tree.anyOf", [{"type": "integer"}]),
    "rate is required": ("required", ["id", "rate"]),
    "nothing may be said of time": ("properties.time", False),
}


CHANGED = {
    "id has another pattern": ("properties.id.pattern", "^[a-y]*$"),
    "time has another format": ("properties.time.format", "date"),
    "rate is a text": ("properties.rate", {"type": "string"}),
    "tags are numbers": ("properties.tags.items", {"type": "number"}),
    "tree has other leaves": ("$defs.Tree.anyOf.0", {"type": "string"}),
    "what cannot be compared is stricter": ("properties.rate.not", {"const": 0.5}),
}


@pytest.mark.parametrize(("path", "value"), [*NARROWED.values(), *CHANGED.values()], ids=[*NARROWED, *CHANGED])
def test_to_read_less_or_write_more_than_before_is_a_breaking_change(path: str, value: Any) -> None:
    assert breaking_changes(BASE, edited(path, value), "reads")
    assert breaking_changes(edited(path, value), BASE, "writes")


@pytest.mark.parametrize(("path", "value"), NARROWED.values(), ids=NARROWED)
def test_to_read_more_or_write_less_than_before_is_not_a_breaking_change(path: str, value: Any) -> None:
    assert not breaking_changes(edited(path, value), BASE, "reads")
    assert not breaking_changes(BASE, edited(path, value), "writes")


@pytest.mark.parametrize("direction", ["reads", "writes"])
def test_a_removed_field_is_a_breaking_change(direction: Direction) -> None:
    assert breaking_changes(BASE, edited("properties.size", None), direction) == ["/size: is removed"]
    assert breaking_changes(BASE, edited("$defs.Part.properties.x", None), direction)


def test_a_new_optional_field_is_not_a_breaking_change_of_what_is_read() -> None:
    assert not breaking_changes(BASE, edited("properties.fresh", {"type": "string", "default": ""}), "reads")


def test_a_new_required_field_is_a_breaking_change_of_what_is_read() -> None:
    new = edited("properties.fresh", {"type": "string"})
    new["required"] = ["id", "fresh"]
    assert breaking_changes(BASE, new, "reads") == ["/fresh: is required now"]


def test_a_new_field_is_a_breaking_change_of_what_is_written_only_where_readers_refuse_it() -> None:
    fresh = {"type": "string"}
    assert breaking_changes(BASE, edited("properties.fresh", fresh), "writes")
    assert not breaking_changes(BASE, edited("$defs.Part.properties.fresh", fresh), "writes")


def test_a_field_that_may_be_absent_now_is_a_breaking_change_of_what_is_written() -> None:
    assert breaking_changes(BASE, edited("required", []), "writes") == ["/id: may be absent now"]
    assert not breaking_changes(BASE, edited("required", []), "reads")


def test_another_default_is_a_breaking_change_of_what_is_read() -> None:
    new = edited("properties.size.default", 6)
    assert breaking_changes(BASE, new, "reads") == ["/size: its default has changed"]
    assert not breaking_changes(BASE, new, "writes")


def test_words_are_not_a_breaking_change() -> None:
    new = edited("title", "Base")
    new["properties"]["id"]["description"] = "An id."
    assert not breaking_changes(BASE, new, "reads")
    assert not breaking_changes(BASE, new, "writes")


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("direction", ["reads", "writes"])
def test_no_change_is_not_a_breaking_change(name: str, direction: Direction) -> None:
    assert not breaking_changes(DOCUMENTS[name], DOCUMENTS[name], direction)


def test_a_command_that_is_gone_is_a_breaking_change_and_a_new_one_is_not() -> None:
    old = DOCUMENTS["topic.commands.schema.json"]
    for index in range(len(old["oneOf"])):
        fewer = copy.deepcopy(old)
        del fewer["oneOf"][index]
        assert breaking_changes(old, fewer, "reads")
        assert not breaking_changes(fewer, old, "reads")


texts = st.sampled_from(["", "a", "b", "ab", "abc"])
leaves: st.SearchStrategy[Document] = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}]),
    st.builds(lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span}, *[st.integers(0, 3)] * 2),
    st.builds(lambda low, span: {"type": "number", "minimum": low, "maximum": low + span}, *[st.integers(0, 3)] * 2),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more}, *[st.integers(0, 2)] * 2
    ),
    st.builds(lambda found: {"enum": found}, st.lists(texts | st.integers(0, 3) | st.none(), min_size=1, unique=True)),
    st.builds(lambda value: {"const": value}, texts | st.integers(0, 3)),
)


def branches(inner: st.SearchStrategy[Document]) -> st.SearchStrategy[Document]:
    objects = st.builds(
        lambda fields, count: {
            "type": "object",
            "additionalProperties": False,
            "properties": fields,
            "required": sorted(fields)[:count],
        },
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.integers(0, 3),
    )
    arrays = st.builds(
        lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 1)
    )
    maps = st.builds(lambda inner: {"type": "object", "additionalProperties": inner}, inner)
    unions = st.builds(lambda found: {"anyOf": found}, st.lists(inner, min_size=1, max_size=3))
    return objects | arrays | maps | unions


any_schema = st.recursive(leaves, branches, max_leaves=6)


@st.composite
def edits(draw: st.DrawFn, schema: Document) -> Document:
    """The schema with one of its parts replaced, dropped or joined with another."""
    found = copy.deepcopy(schema)
    parts: list[tuple[Any, Any]] = [({"": found}, "")]
    for container, key in parts:
        part = container[key]
        parts += [(part, name) for name in ("items", "additionalProperties") if isinstance(part.get(name), dict)]
        parts += [(part["anyOf"], index) for index in range(len(part.get("anyOf", [])))]
        parts += [(part["properties"], name) for name in part.get("properties", {})]
    container, key = draw(st.sampled_from(parts))
    other = draw(any_schema)
    container[key] = draw(
        st.sampled_from([other, {"anyOf": [other, container[key]]}, {"anyOf": [container[key], other]}])
    )
    return found if container is not parts[0][0] else dict(container[""])


@settings(max_examples=400, deadline=None)
@given(draw=st.data(), old=any_schema)
def test_where_nothing_breaks_the_reader_takes_every_old_message(draw: st.DataObject, old: Document) -> None:
    new = draw.draw(edits(old) | any_schema)
    if not breaking_changes(old, new, "reads"):
        assert jsonschema_rs.is_valid(new, draw.draw(values(old)))


@settings(max_examples=400, deadline=None)
@given(draw=st.data(), old=any_schema)
def test_where_nothing_breaks_every_new_message_is_what_readers_were_promised(
    draw: st.DataObject, old: Document
) -> None:
    new = draw.draw(edits(old) | any_schema)
    if not breaking_changes(old, new, "writes"):
        assert jsonschema_rs.is_valid(old, draw.draw(values(new)))


@settings(max_examples=200, deadline=None)
@given(schema=any_schema)
def test_no_schema_breaks_itself(schema: Document) -> None:
    assert not breaking_changes(schema, schema, "reads")
    assert not breaking_changes(schema, schema, "writes")
