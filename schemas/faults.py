"""Says in a producer's words what a validation found: one reason per faulty value, at its JSON pointer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.base import Reason

MOST_REASONS = 32
MOST_FAULTS = 1000
"""A message with more is not looked at closely: it would take a gigabyte and half a minute to describe a megabyte."""
_LONGEST_WHERE = 256
_LONGEST_MESSAGE = 1024
_LONGEST_QUOTE = 80
_ADVICE = {
    "missing": "is required: add it",
    "extra_forbidden": "is not a known field: correct its spelling or leave it out",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "tuple_type": "must be a JSON array",
    "union_tag_not_found": "needs the field {discriminator}, which says what it is",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}, not '{tag}'",
    "too_short": "must have at least {min_length} entries, not {actual_length}",
    "too_long": "must have at most {max_length} entries",
}


@dataclass
class _Fault:
    value: object
    """What is there; None also where nothing is, or where its name is at fault."""
    sentences: list[str] = field(default_factory=list)
    of_type: bool = True
    """Only the kind of value is wrong. Where a union looked inside and found fault, that fault is the cause."""


def reasons_of(invalid: ValidationError, document: object) -> tuple[Reason, ...]:
    """One reason per faulty value, in the order they were found; past 32 the rest is counted, past 1,000 all are.

    Args:
        invalid: what validation raised.
        document: the JSON value that was validated, by which the way to each fault is told from the names of models.
    """
    if invalid.error_count() > MOST_FAULTS:
        message = f"{invalid.error_count()} faults: check the message against its JSON Schema"
        return (Reason(code="schema", message=message),)
    found: dict[str, _Fault] = {}
    for error in invalid.errors(include_url=False, include_input=False):
        where, value = _locate(error["loc"], document, missing=error["type"] == "missing")
        fault = found.setdefault(where, _Fault(None if _is_name(error) else value))
        fault.sentences.append(_sentence(error))
        fault.of_type &= error["type"].endswith("_type")
    inside = {ancestor for where in found for ancestor in _ancestors(where)}
    causes = [where for where, fault in found.items() if not (fault.of_type and where in inside)]
    reasons = [_reason(where, found[where]) for where in causes[:MOST_REASONS]]
    if len(causes) > MOST_REASONS:
        more = len(causes) - MOST_REASONS
        reasons.append(Reason(code="schema", message=f"{more} more values are faulty: mend these first"))
    return tuple(reasons)


def _locate(location: tuple[int | str, ...], document: object, *, missing: bool) -> tuple[str, object]:
    """The pointer (RFC 6901) and the value there. Steps that the document does not have name a union's branch."""
    pointer = ""
    here: Any = document
    for step in location:
        if step in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
            pointer += "/" + _escaped(step)
            here = here[step]
    if missing:
        return pointer + "/" + _escaped(location[-1]), None
    return pointer, here


def _ancestors(pointer: str) -> Iterator[str]:
    while pointer:
        pointer = pointer.rpartition("/")[0]
        yield pointer


def _is_name(error: ErrorDetails) -> bool:
    return error["loc"][-1:] == ("[key]",)


def _sentence(error: ErrorDetails) -> str:
    if error["type"] in _ADVICE:
        return _ADVICE[error["type"]].format_map(error.get("ctx", {}))
    sentence = (
        error["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    )
    return f"as a name, {sentence}" if _is_name(error) else sentence


def _reason(where: str, fault: _Fault) -> Reason:
    first, *others = dict.fromkeys(fault.sentences)
    message = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    if isinstance(fault.value, str | int | float):
        message += f"; it is {_clip(json.dumps(fault.value, ensure_ascii=False), _LONGEST_QUOTE)}"
    return Reason(code="schema", where=_clip(where, _LONGEST_WHERE), message=_clip(message, _LONGEST_MESSAGE))


def _escaped(step: int | str) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _clip(text: str, longest: int) -> str:
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
