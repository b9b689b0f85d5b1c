"""Drift: whether features are distributed as they were in training, window after window."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Window:
    """What a whole window of one instrument's bars has shown; figures by feature, in the profile's order.

    Attributes:
        start: its first bar.
        end: its last bar.
        psi: population stability index of each feature, against training.
        outliers: share of its bars with any feature outside the range of training.
    """

    start: datetime
    end: datetime
    psi: tuple[float, ...]
    outliers: float


@dataclass(frozen=True)
class Watch:
    """Where the detectors of a version stand on one instrument.

    Attributes:
        newest: the bar and the revision that were taken in last; None: there was none.
        start: the first bar of the window under way; None: it has none.
        counts: bars of the window under way by feature and bin; the last bin is of values that are not known.
        outliers: bars of the window under way with any feature outside the range of training.
        last: the last whole window; None: there was none.
        streaks: by feature, the whole windows in a row, up to the last, whose index was above the threshold.
    """

    newest: tuple[datetime, int] | None = None
    start: datetime | None = None
    counts: tuple[tuple[int, ...], ...] = ()
    outliers: int = 0
    last: Window | None = None
    streaks: tuple[int, ...] = ()
