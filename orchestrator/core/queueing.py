"""Who begins next where only so many experiments run at once, and what the others are told of their place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

NEAR = 10
"""Places from the head at which each step is told; further back, only when the way has halved or doubled."""


@dataclass(frozen=True)
class Waiting:
    """An experiment that has not begun."""

    experiment: str
    priority: int
    since: datetime
    expires_at: datetime | None = None
    """From then on nobody wants it any more."""
    told: int | None = None
    """The position that it was last told; None: none yet."""


@dataclass(frozen=True)
class Calls:
    """What a look at the queue comes to. Every experiment of it is in `expired`, in `begins` or waits on."""

    expired: tuple[str, ...]
    begins: tuple[str, ...]
    """In the order of their turn."""
    positions: Mapping[str, int]
    """By experiment, what it is to be told: how many will begin before it. What waits on as it was told is not here."""


def call(queue: Iterable[Waiting], room: int, now: datetime) -> Calls:
    """Let as many begin as there is room for, by priority and then by age.

    Args:
        queue: in any order.
        room: how many may begin; none where it is negative.
        now: to tell who has expired.
    """
    in_turn = sorted(queue, key=lambda each: (-each.priority, each.since, each.experiment))
    wanted = [each for each in in_turn if not has_expired(each.expires_at, now)]
    begins, left = wanted[: max(0, room)], wanted[max(0, room) :]
    # What begins is told so by its start; before that it was never told to wait.
    first = {each.experiment: 0 for each in begins if each.told is None}
    moved = {each.experiment: place for place, each in enumerate(left) if is_news(each.told, place)}
    return Calls(
        expired=tuple(each.experiment for each in in_turn if has_expired(each.expires_at, now)),
        begins=tuple(each.experiment for each in begins),
        positions=first | moved,
    )


def has_expired(expires_at: datetime | None, now: datetime) -> bool:
    """Whether nobody wants it any more; None never expires."""
    return expires_at is not None and expires_at <= now


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Until when at least one of two wants it; None never expires."""
    return None if one is None or other is None else max(one, other)


def is_news(told: int | None, position: int) -> bool:
    """Whether a position is worth telling after the one that was told; of n places passed, few are."""
    if told is None:
        return True
    return position != told and (min(told, position) < NEAR or not told < 2 * position < 4 * told)
