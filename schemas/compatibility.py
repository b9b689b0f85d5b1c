"""Says which changes of a JSON Schema break those who are on the other side of the wire.

What the service reads must go on taking every message that was good; what it writes must go on being what its readers
were promised. Both are one question: is every value of the one schema a value of the other? Where the keywords, taken
one by one, do not show it, the answer is no.
"""

import json
from collections.abc import Iterator
from math import inf
from typing import Any

from schemas.base import JsonObject
from schemas.json_schema import Direction

Schema = JsonObject | bool
_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_MUST_EQUAL = {"format", "multipleOf", "pattern", "uniqueItems"}
_COMPARED = {"type", "const", "enum", "items", "properties", "required", "additionalProperties", "propertyNames"}
_COMPARED |= {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}
_COMPARED |= {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_ANNOTATIONS = {"$defs", "$id", "$schema", "default", "description", "examples", "title"}


def breaking_changes(old: JsonObject, new: JsonObject, direction: Direction) -> list[str]:
    """Every breaking change from `old` to `new`, as sentences that begin with the path; empty: none.

    A field may be added where it may be absent (reads) or where readers ignore it (writes). None may go, and of what is
    read no default may change: the same message must go on asking for the same.

    Args:
        old: the released schema.
        new: its successor.
        direction: what the service does with the messages.
    """
    if direction == "reads":
        return _Comparison(old, new, direction).compare(old, new, "")
    return _Comparison(new, old, direction).compare(new, old, "")


class _Comparison:
    """Compares a schema of values that occur (`narrow`) with one that must take them all (`wide`)."""

    def __init__(self, narrow: JsonObject, wide: JsonObject, direction: Direction) -> None:
        self._narrow_definitions = narrow.get("$defs", {})
        self._wide_definitions = wide.get("$defs", {})
        self._reads = direction == "reads"
        self._under_way: list[tuple[str, str]] = []

    def compare(self, narrow: Schema, wide: Schema, path: str) -> list[str]:
        """What of `narrow` does not fit `wide`. A pair that is being compared already (recursion) is taken to fit."""
        narrow, wide = _as_object(narrow), _as_object(wide)
        pair = (json.dumps(narrow), json.dumps(wide))
        if not wide.keys() - _ANNOTATIONS or _values(narrow) == set() or pair in self._under_way:
            return []
        self._under_way.append(pair)
        try:
            return self._alternatives(
                _resolved(narrow, self._narrow_definitions), _resolved(wide, self._wide_definitions), path
            )
        finally:
            self._under_way.pop()

    def _alternatives(self, narrow: JsonObject, wide: JsonObject, path: str) -> list[str]:
        """Each alternative of the narrow one must fit one of the wide one; the closest tells what is wrong."""
        occurring, accepted = _split(narrow), _split(wide)
        if len(occurring) == 1 < len(accepted):
            occurring = _split_values(occurring[0])
        if occurring == [narrow] and accepted == [wide]:
            return list(self._plain(narrow, wide, path))
        found: list[str] = []
        for one in occurring:
            faults = [self.compare(one, other, path) for other in accepted]
            closest: list[str] = min(faults, key=len)
            found += closest
        return found

    def _plain(self, narrow: JsonObject, wide: JsonObject, path: str) -> Iterator[str]:
        yield from self._kinds(narrow, wide, path)
        yield from self._bounds(_with_implied_bounds(narrow), wide, path)
        types = _types(narrow)
        if "object" in types:
            yield from self._objects(narrow, wide, path)
        if "array" in types and "items" in wide:
            yield from self.compare(narrow.get("items", True), wide["items"], f"{path}/items")
        for keyword in sorted(wide.keys() & _MUST_EQUAL):
            if wide[keyword] is not False and narrow.get(keyword) != wide[keyword]:
                yield self._say(path, f"{keyword} is stricter", f"{keyword} no longer holds")
        for keyword in sorted(wide.keys() - _MUST_EQUAL - _COMPARED - _ANNOTATIONS):
            if not keyword.startswith("x-"):
                yield f"{path or '/'}: {keyword} cannot be compared: say it with other keywords"

    def _kinds(self, narrow: JsonObject, wide: JsonObject, path: str) -> Iterator[str]:
        occurring, accepted = _values(narrow), _values(wide)
        if accepted is not None:
            if occurring is None:
                yield self._say(path, "only some values are taken now", "can have new values")
            elif lost := occurring - accepted:
                values = ", ".join(sorted(lost))
                yield self._say(path, f"{values} is no longer taken", f"can be {values} now")
        elif lost := {kind for kind in _types(narrow) if not _covered(kind, _types(wide))}:
            kinds = ", ".join(sorted(lost))
            yield self._say(path, f"{kinds} is no longer taken", f"can be {kinds} now")

    def _bounds(self, narrow: JsonObject, wide: JsonObject, path: str) -> Iterator[str]:
        types = _types(narrow)
        looser = []
        if types & {"integer", "number"}:
            looser += [
                ("minimum", _lower(narrow) < _lower(wide)),
                ("maximum", _upper(narrow) > _upper(wide)),
            ]
        for kind, of_kind in (("string", "Length"), ("array", "Items"), ("object", "Properties")):
            if kind in types:
                least, most = f"min{of_kind}", f"max{of_kind}"
                looser += [
                    (least, narrow.get(least, 0) < wide.get(least, 0)),
                    (most, narrow.get(most, inf) > wide.get(most, inf)),
                ]
        for keyword, is_looser in looser:
            if is_looser:
                yield self._say(path, f"{keyword} is stricter", f"{keyword} no longer holds")

    def _objects(self, narrow: JsonObject, wide: JsonObject, path: str) -> Iterator[str]:
        mine, theirs = narrow.get("properties", {}), wide.get("properties", {})
        old, new = (narrow, wide) if self._reads else (wide, narrow)
        for name in sorted(old.get("properties", {}).keys() - new.get("properties", {}).keys()):
            yield f"{path}/{name}: is removed"
        for name in sorted(set(wide.get("required", ())) - set(narrow.get("required", ()))):
            if self._reads or name in mine or name not in theirs:
                yield self._say(f"{path}/{name}", "is required now", "may be absent now")
        others, accepted = narrow.get("additionalProperties", True), wide.get("additionalProperties", True)
        if accepted is False and others is not False:
            yield self._say(path, "unknown fields are refused now", "can have unknown fields now")
        else:
            yield from self.compare(others, accepted, f"{path}/*")
        if "propertyNames" in wide:
            yield from self.compare(_names(narrow), _names(wide), f"{path}/* (the name)")
        for name in sorted(mine):
            if name in theirs:
                yield from self.compare(mine[name], theirs[name], f"{path}/{name}")
                if self._reads and _means_something_else(name, narrow, wide):
                    yield f"{path}/{name}: its default has changed"
            elif not self._reads:
                yield from self.compare(mine[name], accepted, f"{path}/{name}")
        if isinstance(others, dict):
            for name in sorted(theirs.keys() - mine.keys()):
                yield from self.compare(others, theirs[name], f"{path}/{name}")

    def _say(self, path: str, reading: str, writing: str) -> str:
        return f"{path or '/'}: {reading if self._reads else writing}"


def _as_object(schema: Schema) -> JsonObject:
    if schema is True:
        return {}
    return {"enum": []} if schema is False else schema


def _resolved(schema: JsonObject, definitions: JsonObject) -> JsonObject:
    while "$ref" in schema:
        beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        schema = _both(beside, definitions[schema["$ref"].removeprefix("#/$defs/")])
    return schema


def _both(one: JsonObject, other: JsonObject) -> JsonObject:
    """A schema of what satisfies both. What cannot be merged goes to `allOf`, which does not count as comparable."""
    required = [*one.get("required", ()), *other.get("required", ())]
    merged = {**one, **other, **({"required": required} if required else {})}
    common = one.keys() & other.keys() - _ANNOTATIONS - {"required"}
    return merged if all(one[keyword] == other[keyword] for keyword in common) else {**merged, "allOf": [one]}


def _split(schema: JsonObject) -> list[JsonObject]:
    """The alternatives of a union or a list of types, each with what holds for all of them."""
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            common = {name: value for name, value in schema.items() if name != keyword and name not in _ANNOTATIONS}
            return [_both(common, _as_object(alternative)) for alternative in schema[keyword]]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return [schema]


def _split_values(schema: JsonObject) -> list[JsonObject]:
    return [{**schema, "enum": [value]} for value in schema["enum"]] if "enum" in schema else [schema]


def _names(schema: JsonObject) -> JsonObject:
    return {"type": "string", **_as_object(schema.get("propertyNames", True))}


def _values(schema: JsonObject) -> set[str] | None:
    """The values of an enumeration, each as JSON; None where others are possible."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {json.dumps(_canonical(value), sort_keys=True) for value in values}


def _canonical(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _types(schema: JsonObject) -> frozenset[str]:
    values = _values(schema)
    if values is not None:
        return frozenset(_type_of(json.loads(value)) for value in values)
    return frozenset({schema["type"]}) if "type" in schema else _TYPES


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _covered(kind: str, types: frozenset[str]) -> bool:
    return kind in types or (kind == "integer" and "number" in types)


def _with_implied_bounds(schema: JsonObject) -> JsonObject:
    values = _values(schema)
    if not values:
        return schema
    decoded = [json.loads(value) for value in values]
    numbers = [value for value in decoded if _type_of(value) in ("integer", "number")]
    lengths = [len(value) for value in decoded if isinstance(value, str)]
    implied = {"minimum": min(numbers), "maximum": max(numbers)} if numbers else {}
    return {**schema, **implied, **({"minLength": min(lengths), "maxLength": max(lengths)} if lengths else {})}


def _lower(schema: JsonObject) -> tuple[float, bool]:
    return max((schema.get("minimum", -inf), False), (schema.get("exclusiveMinimum", -inf), True))


def _upper(schema: JsonObject) -> tuple[float, bool]:
    return min((schema.get("maximum", inf), True), (schema.get("exclusiveMaximum", inf), False))


def _means_something_else(name: str, old: JsonObject, new: JsonObject) -> bool:
    before, after = _as_object(old["properties"][name]), _as_object(new["properties"][name])
    if "default" not in before or name in new.get("required", ()):
        return False
    return "default" not in after or before["default"] != after["default"]
