"""The kill switch: which halt is in effect, and what it leaves of a position that is wanted.

What is said of a scope is one message, the newest by epoch. A halt acts until it expires, or a lift or another halt of
its scope takes its place. Several scopes may hold one position: the strictest of their halts is in effect.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.control import Halt, HaltAction, Lift

Order = Halt | Lift
STRICTNESS: Final[Mapping[HaltAction, int]] = {"halt_new": 1, "reduce_only": 2, "flatten": 3}
EVERYTHING: Final = "all"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Effect:
    """The halt that a position is under."""

    action: HaltAction
    epoch: int
    scope: str
    reason: str


def replaces(order: Order, known: Order | None) -> bool:
    """Whether a message takes the place of the one that is known of its scope; an older epoch never does.

    Two people may have used one epoch at once: the stricter message stands, of equal ones the later, and of those of
    one moment the one that lasts longer.
    """
    return known is None or _rank(order) >= _rank(known)


def _rank(order: Order) -> tuple[int, int, datetime, datetime]:
    if isinstance(order, Lift):
        return order.epoch, 0, order.issued_at, _NEVER
    return order.epoch, STRICTNESS[order.action], order.issued_at, order.expires_at or _NEVER


def standing(orders: Iterable[Order]) -> dict[str, Order]:
    """Of each scope the message that stands, in whatever order they come."""
    found: dict[str, Order] = {}
    for order in orders:
        if replaces(order, found.get(order.scope)):
            found[order.scope] = order
    return found


def in_effect(orders: Mapping[str, Order], now: datetime) -> dict[str, Halt]:
    """The halts that act now, by scope; `orders` holds the message that stands of each scope."""
    return {
        scope: order
        for scope, order in sorted(orders.items())
        if isinstance(order, Halt) and (order.expires_at is None or now < order.expires_at)
    }


def first_expiry(halts: Mapping[str, Halt]) -> datetime | None:
    """When the first of these halts ends by itself; None: none does."""
    return min((halt.expires_at for halt in halts.values() if halt.expires_at is not None), default=None)


def effect(halts: Mapping[str, Halt], ensemble: str, ticker: str) -> Effect | None:
    """What an ensemble's position in a ticker is under: the strictest halt of the scopes that hold it; None: nothing.

    Args:
        halts: that are in effect, by scope.
        ensemble: its name.
        ticker: the instrument.
    """
    scopes = (EVERYTHING, f"ensemble:{ensemble}", f"ticker:{ticker}")
    found = max(
        (halts[scope] for scope in scopes if scope in halts), key=lambda halt: STRICTNESS[halt.action], default=None
    )
    return None if found is None else Effect(found.action, found.epoch, found.scope, found.reason)


def restrained(held: int, wanted: int, action: HaltAction) -> int:
    """The target position that a halt leaves of the one that is wanted.

    `flatten`: 0. `halt_new` and `reduce_only`: never opened, never enlarged, never turned round (a reversal ends flat);
    leaving is always free. Targets are signs, so the two are the same here. They differ for whoever turns a target into
    a size: under `halt_new` a position that is held may still be filled up to the size that was meant for it, under
    `reduce_only` its size may only shrink.

    Args:
        held: the target before: below 0 short, 0 flat, above 0 long.
        wanted: the target that the score asks for.
        action: of the halt in effect.
    """
    if action == "flatten" or held * wanted <= 0:
        return 0
    return min(held, wanted) if held > 0 else max(held, wanted)
