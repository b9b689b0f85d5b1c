"""The fields of a form, as the JSON Schema of a message has them: pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from schemas.base import Reason, Scalar

Kind = Literal["choice", "flag", "whole", "number", "instant", "text"]


LABELS = {
    "mode": "Better is",
    "costs/default_bps": "Cost of a unit traded, bps",
    "deploy/auto": "Deploy by itself",
    "deploy/gate": "Only through the gate",
    "deploy/top_n": "Members per ticker at most",
    "deploy/mode": "Heard",
    "data_start": "Bars from",
    "data_end": "Bars until",
    "holdout": "Hold-out, sessions",
    "parent": "Follows the experiment",
    "schedule": "Schedule, as cron",
    "max_age_days": "Oldest, days",
    "cooldown_hours": "Cool-down, hours",
    "trials_per_day": "Trials a day at most",
    "quiet": "Quiet hours",
    "performance/sessions": "Sessions that count",
    "drift/windows": "Windows in a row",
    "outliers/share": "Share of ticks",
    "search/holdout": "Hold-out, sessions",
    "search/num_samples": "Samples",
    "search/num_generations": "Generations",
    "promotion/auto": "Promote by rule",
    "promotion/sessions": "Sessions to a look",
    "promotion/looks": "Looks",
    "promotion/canary": "Canary, instruments",
    "promotion/canary_sessions": "Sessions as a canary",
    "promotion/demote": "Take it back where it falls below its band",
}
"""Where the field's own name says too little."""


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        path: where it is in the message, such as `deploy/top_n`.
        kind: what is entered.
        label: its name, for people.
        about: what it means.
        choices: of a choice.
        default: what holds where it is left empty; None: it is left out of the message.
        least: of a figure.
        most: of a figure.
    """

    path: str
    kind: Kind
    label: str
    about: str
    choices: tuple[str, ...] = ()
    default: Any = None
    least: float | None = None
    most: float | None = None


def fields(model: type[BaseModel], paths: Sequence[str]) -> tuple[Field, ...]:
    """The fields at some paths of a model, in that order."""
    schema = model.model_json_schema()
    return tuple(_field(path, *_at(schema, path)) for path in paths)


def document(values: Mapping[str, Any]) -> dict[str, Any]:
    """The message that values by path make up; what is None is left out."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        if value is None:
            continue
        *parents, name = path.split("/")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return found


def owner(reason: Reason, paths: Sequence[str]) -> str | None:
    """The field that a reason is about: the one with the longest path that leads to its place; None: none of them."""
    where = reason.where.strip("/") if reason.where else ""
    leading = [path for path in paths if where == path or where.startswith(f"{path}/")]
    return max(leading, key=len, default=None)


def scalars(text: str) -> list[Scalar] | None:
    """Values between commas: numbers, true, false, or words; None: there are none."""
    listed = [each.strip() for each in text.split(",") if each.strip()]
    return [_scalar(each) for each in listed] or None


def written(values: Sequence[Scalar]) -> str:
    """Values as `scalars` reads them."""
    return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in values)


def _scalar(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _at(schema: Mapping[str, Any], path: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What the schema says of the field at a path: of the field, and of its value."""
    here: Mapping[str, Any] = schema
    said: Mapping[str, Any] = {}
    for name in path.split("/"):
        said = here["properties"][name]
        here = _value(schema, said)
    return said, here


def _value(schema: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a value that may be absent, or is described elsewhere."""
    for option in _options(said):
        if "$ref" in option:
            return _value(schema, schema["$defs"][option["$ref"].rpartition("/")[2]])
        if option.get("type") != "null":
            return option
    return said


def _options(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from said.get("anyOf", said.get("allOf", (said,)))


def _field(path: str, said: Mapping[str, Any], value: Mapping[str, Any]) -> Field:
    return Field(
        path=path,
        kind=_kind(value),
        label=LABELS.get(path) or path.rpartition("/")[2].replace("_", " ").capitalize(),
        about=" ".join(said.get("description", "").replace("`", "").split()),
        choices=tuple(map(str, value.get("enum", ()))),
        default=said.get("default"),
        least=value.get("minimum", value.get("exclusiveMinimum")),
        most=value.get("maximum"),
    )


def _kind(value: Mapping[str, Any]) -> Kind:
    if "enum" in value:
        return "choice"
    if value.get("format") == "date-time":
        return "instant"
    kinds: dict[str, Kind] = {"boolean": "flag", "integer": "whole", "number": "number"}
    return kinds.get(value.get("type", "string"), "text")
