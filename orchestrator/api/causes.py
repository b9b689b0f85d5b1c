"""Causes in words: why an ensemble is trained anew, on one line."""

from collections.abc import Mapping
from typing import Any

from schemas.base import parse_instant

_FIGURES = ("figure", "threshold", "window_start", "window_end")
_TOLD = frozenset(("kind", "ensemble", "version", "trigger", "detector", "feature", "ticker", "said", *_FIGURES))
_BEYOND = {"performance": "below"}
"""How a figure lies to its threshold, where it is not above it."""


def caused(cause: Mapping[str, Any] | None) -> str:
    """A cause in words; of one that another service gave, whatever it says.

    The kind and what it is of come first, then the figure beside its threshold and the window, then all else.
    """
    if not cause:
        return ""
    kind = str(cause.get("kind") or "outside")
    told = kind.replace("_", " ")
    for word, name in (("of", "feature"), ("on", "ticker")):
        if cause.get(name):
            told += f" {word} {cause[name]}"
    parts = [part for part in (_figure(kind, cause), _window(cause)) if part]
    said = cause.get("said")
    others = {**cause, **({} if said is None else said if isinstance(said, Mapping) else {"says": said})}
    parts += [f"{name} {_plain(value)}" for name, value in others.items() if name not in _TOLD and value is not None]
    return f"{told}: {', '.join(parts)}" if parts else told


def _figure(kind: str, cause: Mapping[str, Any]) -> str:
    figure, threshold = cause.get("figure"), cause.get("threshold")
    if figure is None or threshold is None:
        return ""
    return f"{_plain(figure)} {_BEYOND.get(kind, 'above')} {_plain(threshold)}"


def _window(cause: Mapping[str, Any]) -> str:
    start, end = cause.get("window_start"), cause.get("window_end")
    return f"{_day(start)} to {_day(end)}" if start and end else ""


def _plain(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _day(moment: object) -> str:
    """The day of a time, and the time of day where it says one."""
    try:
        return f"{parse_instant(moment):%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    except ValueError:
        return str(moment)
