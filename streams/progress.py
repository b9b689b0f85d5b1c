"""Whether the worker moves: alive means that offsets advance while there is lag, not that a process exists."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from schemas.base import format_instant, parse_instant

SILENCE = timedelta(seconds=30)
"""The worker says how far it is every few seconds; older than this, it hangs or is gone."""
STANDSTILL = timedelta(seconds=90)
"""Longer than a rebalance and a full batch take."""


@dataclass(frozen=True)
class Progress:
    """How far the worker is.

    `position` is the sum of its committed offsets, `lag` the records left, `said_at` when this was true, and `moved_at`
    when the position last grew or nothing was left.
    """

    position: int
    lag: int
    said_at: datetime
    moved_at: datetime

    @classmethod
    def first(cls, position: int, lag: int, now: datetime) -> Self:
        """The first word of a worker that has just started."""
        return cls(position, lag, now, now)

    def then(self, position: int, lag: int, now: datetime) -> Self:
        """The next word."""
        moved = position > self.position or lag == 0
        return replace(self, position=position, lag=lag, said_at=now, moved_at=now if moved else self.moved_at)

    def fault(self, now: datetime) -> str | None:
        """Why the worker must be taken for stuck; None when it need not."""
        if now - self.said_at > SILENCE:
            return f"has said nothing for {(now - self.said_at).total_seconds():.0f} s"
        if self.lag > 0 and now - self.moved_at > STANDSTILL:
            return f"has not moved for {(now - self.moved_at).total_seconds():.0f} s, with {self.lag} records to go"
        return None

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self) | {"said_at": format_instant(self.said_at), "moved_at": format_instant(self.moved_at)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """From the record."""
        return cls(
            content["position"], content["lag"], parse_instant(content["said_at"]), parse_instant(content["moved_at"])
        )
