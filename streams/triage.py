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
    """How old a live tick may be, in seconds from `available_at`."""

    ttl: timedelta


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
    goes_back = newest is not None and (tick.event_time, tick.revision) < newest.bar
    return None if tick.mode == "replay" and goes_back else newest


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
    if tick.mode == "live" and now - tick.available_at > rules.ttl:
        return Triage.EXPIRED
    return Triage.FRESH
