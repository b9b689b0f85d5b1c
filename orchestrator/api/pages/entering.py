"""Form fields on a page: each is entered, read as the message has it, and told what is wrong with it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from orchestrator.api.pages.fields import Field, scalars, written
from orchestrator.api.pages.look import words
from schemas.base import Scalar
from schemas.search import Choice, Dimension

KINDS = {"uniform": "uniform", "loguniform": "log-uniform", "integer": "integer", "choice": "choice"}
Read = Callable[[], Any]
Changed = Callable[[], Awaitable[None]]


class Entry:
    """A field that is on the page.

    Args:
        read: its value as the message has it; None: it is left out.
        shown: where an error is told.
    """

    def __init__(self, read: Read, shown: ui.input | ui.number | ui.select | None = None) -> None:
        self.read = read
        self.shown = shown

    @property
    def tells(self) -> bool:
        """Whether an error can be shown beside it."""
        return self.shown is not None

    def complain(self, error: str | None) -> None:
        """Show an error; None: there is none."""
        if self.shown is not None and self.shown.error != error:
            self.shown.error = error


def entry(field: Field, changed: Changed, value: Any = None) -> Entry:
    """Put a field on the page that is being built, with a value; None: with its default."""
    begun = field.default if value is None else value
    if field.kind == "flag":
        flag = ui.checkbox(field.label, value=bool(begun), on_change=changed).props("dense")
        if field.about:
            flag.tooltip(field.about)
        return Entry(lambda: None if flag.value == field.default else flag.value)
    if field.kind == "choice":
        silent = words(str(field.default)) if field.default is not None else "as the service is set"
        options = {"": f"{silent} (default)"} | {each: words(each) for each in field.choices if each != field.default}
        start = "" if begun == field.default else str(begun)
        chosen = ui.select(options, value=start, label=field.label, on_change=changed)
        _about(chosen, field)
        return Entry(lambda: chosen.value or None, chosen)
    if field.kind in ("whole", "number"):
        figure = ui.number(field.label, value=begun, on_change=changed, precision=0 if field.kind == "whole" else None)
        figure.props("step=any" if field.kind == "number" else "step=1")
        _about(figure, field)
        return Entry(lambda: _changed(figure.value, field), figure)
    hint = "2012-03-01" if field.kind == "instant" else ""
    text = ui.input(field.label, value="" if value is None else str(value), placeholder=hint, on_change=changed)
    _about(text, field)
    return Entry(lambda: _instant(text.value) if field.kind == "instant" else (text.value or None), text)


def words_entry(field: Field, changed: Changed, values: Sequence[str], hint: str = "") -> Entry:
    """Words between commas."""
    text = ui.input(field.label, value=", ".join(values), placeholder=hint, on_change=changed)
    _about(text, field)
    return Entry(lambda: [each.strip() for each in (text.value or "").split(",") if each.strip()] or None, text)


def values_entry(name: str, values: Sequence[Scalar], changed: Changed) -> Entry:
    """Values of a hyper-parameter, between commas."""
    text = ui.input(name, value=written(values), on_change=changed, placeholder="leave out").props("outlined dense")
    return Entry(lambda: scalars(text.value or ""), text)


def dimension_entry(name: str, dimension: Dimension, changed: Changed) -> Entry:
    """A dimension of a search space: from, to and how it is drawn between them, or the values to choose from."""
    bounds = ("", "") if isinstance(dimension, Choice) else (str(dimension.low), str(dimension.high))
    listed = written(dimension.values) if isinstance(dimension, Choice) else ""
    with ui.element("div").classes("dimension"):
        kind = ui.select(KINDS, value=dimension.kind, label=name, on_change=changed).props(
            "outlined dense options-dense"
        )
        low = ui.input("from", value=bounds[0], on_change=changed).props("outlined dense")
        high = ui.input("to", value=bounds[1], on_change=changed).props("outlined dense")
        values = ui.input("values, between commas", value=listed, on_change=changed)
        values.props("outlined dense").classes("wide")
    for each in (low, high):
        each.bind_visibility_from(kind, "value", backward=lambda chosen: chosen != "choice")
    values.bind_visibility_from(kind, "value", backward=lambda chosen: chosen == "choice")

    def read() -> Mapping[str, Any]:
        if kind.value == "choice":
            return {"kind": "choice", "values": scalars(values.value or "") or []}
        found = {"kind": kind.value, "low": _bound(low.value), "high": _bound(high.value)}
        if kind.value == "integer" and dimension.kind == "integer" and dimension.log:
            found["log"] = True
        return found

    return Entry(read, kind)


def _about(element: ui.input | ui.number | ui.select, field: Field) -> None:
    element.props("outlined dense options-dense")
    if field.about:
        element.props["hint"] = field.about


def _changed(value: float | None, field: Field) -> float | int | None:
    if value is None or value == field.default:
        return None
    return int(value) if field.kind == "whole" and float(value).is_integer() else value


def _instant(text: str | None) -> str | None:
    """A time; a day is its beginning."""
    text = (text or "").strip()
    return f"{text}T00:00:00Z" if len(text) == 10 else text or None


def _bound(text: str) -> Scalar | None:
    found = scalars(text or "")
    return found[0] if found else None
