"""Whether a tick is answered, and if not, why: a pure decision over what was answered before and the clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from schemas.base import Reason
from schemas.codec import Tick
from streams.memory import Answered

AHEAD_LIMIT = timedelta(seconds=5)
"""A bar that closes later than this after now is a fault of its producer's clock, or knows the future."""


class Triage(Enum):
    """What becomes of a tick for one ensemble."""

    FRESH = "fresh"
    REPEAT = "repeat"
    """Answered before: the first answer stands."""
    LATE = "late"
    """A newer bar, or a newer revision of this one, was answered."""
    EXPIRED = "expired"
    """It was available too long ago to act on."""


SKIPPED: Mapping[Triage, Literal["late", "ttl"]] = {Triage.LATE: "late", Triage.EXPIRED: "ttl"}
"""What is told instead of a signal, where something is."""


@dataclass(frozen=True)
class TickRules:
    """Which ticks are answered, and when an ensemble must abstain."""

    ttl: timedelta
    """How old a live tick may be, from its `available_at`."""
    most_age: timedelta | None = None
    """How long after the end of its training a model may be asked; None: for ever."""
    margin: float | None = None
    """How far outside its range in training a feature may lie, in widths of that range; None: anywhere."""
    conflates_from: int | None = None
    """A batch of that many records or more lags, and only the newest of each instrument in it is answered; None: every
    tick is."""


def fault_of_clock(tick: Tick, now: datetime) -> Reason | None:
    """Why the tick's own times make it unusable; None when they do not."""
    if tick.mode == "live" and tick.event_time > now + AHEAD_LIMIT:
        return Reason(
            code="event_time_ahead",
            where="/event_time",
            message=f"event_time {tick.event_time.isoformat()} is more than {AHEAD_LIMIT.seconds} s ahead of the clock "
            f"({now.isoformat()}): send the bar after it has closed, or mend the producer's clock",
        )
    return None


def before(tick: Tick, newest: Answered | None) -> Answered | None:
    """What was answered before this tick, as far as it counts: a replay that goes back begins anew, holding nothing."""
    if newest is None or tick.mode != "replay":
        return newest
    return None if (tick.event_time, tick.revision) < newest.bar else newest


def triage(tick: Tick, newest: Answered | None, *, now: datetime, rules: TickRules) -> Triage:
    """Sort a tick by what its place has answered before and by its age.

    Args:
        tick: the tick.
        newest: the newest answer of its ensemble, instrument and timeframe.
        now: the clock.
        rules: the age that is still acted on.
    """
    bar = (tick.event_time, tick.revision)
    newest = before(tick, newest)
    if newest is not None and bar <= newest.bar:
        return Triage.REPEAT if bar == newest.bar else Triage.LATE
    return Triage.EXPIRED if has_expired(tick, now, rules) else Triage.FRESH


def has_expired(tick: Tick, now: datetime, rules: TickRules) -> bool:
    """Whether a tick was available too long ago to act on."""
    return tick.mode == "live" and now - tick.available_at > rules.ttl
