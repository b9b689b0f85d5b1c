"""How the dashboard writes figures, times and states: text that is the same wherever a thing is shown."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

PATH: Final = "/dashboard"
"""Where the dashboard is mounted."""
STYLE: Final = Path(__file__).with_name("dashboard.css").read_text()
NONE: Final = "–"  # noqa: RUF001 - what stands for a figure that is not defined

TONES: Final[Mapping[str, str]] = {
    "accepted": "quiet",
    "waiting": "quiet",
    "running": "accent",
    "searched": "accent",
    "selected": "good",
    "deploying": "accent",
    "deployed": "good",
    "refused": "warn",
    "failed": "bad",
    "cancelled": "quiet",
    "created": "quiet",
    "completed": "good",
    "stopped_early": "quiet",
    "wanted": "accent",
    "shadowing": "accent",
    "superseded": "quiet",
    "rolled_back": "warn",
    "BUY": "good",
    "SELL": "bad",
    "HOLD": "quiet",
    "passed": "good",
    "overridden": "warn",
}
HELD: Final[Mapping[int | None, str]] = {1: "long", 0: "flat", -1: "short"}
"""What a target position says, in words."""
MARKS: Final[Mapping[str, str]] = {"BUY": "▲ BUY", "SELL": "▼ SELL", "HOLD": "HOLD"}


def place(*parts: str) -> str:
    """The address of a page, from the server's root."""
    return "/".join((PATH, *(quote(part, safe="") for part in parts)))


def figure(value: float | None, digits: int = 2) -> str:
    """A figure with so many digits after the point, with a true minus."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.{digits}f}".replace("-", "−")  # noqa: RUF001


def significant(value: Any) -> str:
    """A hyper-parameter's value: numbers to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return NONE if value is None else f"{figure(100 * value, digits)} %"


def count(value: int | None) -> str:
    """A whole number with separators."""
    return NONE if value is None else f"{value:,}"


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float | None) -> str:
    """A span of time in its two largest units."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def said(configuration: Mapping[str, Any]) -> str:
    """A configuration in one line."""
    return "  ".join(f"{name}={significant(value)}" for name, value in configuration.items())


def words(name: str) -> str:
    """A name of the contract as people write it."""
    return name.replace("_", " ")
