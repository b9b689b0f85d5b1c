"""Whether a version that has just taken over must give way again: a pure rule over how it has done so far.

On probation each fault is made good by the version before it, so that one alone costs nothing but time.
"""

from dataclasses import dataclass, replace
from typing import Self

from schemas.base import Reason

RAISES = 3
"""A version that raises in so many calls gives way, however many there were: no error of a model is in order."""
LOSSES = 20
"""Rows without a credible prediction are looked at as a share, when there are so many of them."""
SHARE = 0.1
"""Of the rows, or when probation is over of the calls, from which on faults are not chance."""


@dataclass(frozen=True)
class Trial:
    """What became of the ticks that a version on probation was asked about.

    Attributes:
        calls: in which it was asked.
        raised: calls in which it raised, and the version before it did not.
        rows: that it was asked about.
        lost: rows in which it lost members, and the version before it did not.
        words: of the error that it raised last.
    """

    calls: int = 0
    raised: int = 0
    rows: int = 0
    lost: int = 0
    words: str = ""

    def told(self, rows: int, *, lost: int = 0, error: Exception | None = None) -> Self:
        """This, and one more call about so many rows."""
        return replace(
            self,
            calls=self.calls + 1,
            rows=self.rows + rows,
            lost=self.lost + lost,
            raised=self.raised + (error is not None),
            words=self.words if error is None else f"{type(error).__name__}: {error}",
        )


def objections(trial: Trial, *, over: bool) -> tuple[Reason, ...]:
    """Why a version must give way; empty: nothing is held against it.

    Args:
        trial: how it has done.
        over: its probation ends, and nobody makes its faults good from now on.
    """
    found: list[Reason] = []
    if trial.raised >= RAISES or (over and trial.raised >= max(1, SHARE * trial.calls)):
        message = f"It raised in {trial.raised} of {trial.calls} calls, the last time {trial.words}"
        found.append(Reason(code="version_raises", message=message[:4096]))
    if trial.lost >= max(1 if over else LOSSES, SHARE * trial.rows):
        message = (
            f"Members gave no credible prediction in {trial.lost} of {trial.rows} rows that the version before answered"
        )
        found.append(Reason(code="version_loses_members", message=message))
    return tuple(found)
