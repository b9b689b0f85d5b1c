"""Signals: what a trading engine consumes. Keyed by instrument."""

import hashlib
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from schemas.base import (
    Count,
    Digest,
    Instant,
    Message,
    Mode,
    Name,
    Number,
    Part,
    Position,
    Reason,
    Sequence,
    ShortText,
    Ticker,
    Timeframe,
    Version,
    Voting,
    format_instant,
)
from schemas.control import HaltAction, Scope

SignalId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def signal_id(ensemble: str, ticker: str, timeframe: str, event_time: datetime, revision: int, mode: str) -> str:
    """The same tick and ensemble always give the same id, so a redelivery, even after a swap, is the same signal."""
    return written_id(ensemble, ticker, timeframe, format_instant(event_time), revision, mode)


def written_id(ensemble: str, ticker: str, timeframe: str, event_time: str, revision: int, mode: str) -> str:
    """`signal_id`, of an event time that is written already."""
    text = f"{ensemble}\n{ticker}\n{timeframe}\n{event_time}\n{revision}\n{mode}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Vote(Part):
    """One member's answer."""

    member: Name
    vote: Literal["BUY", "SELL", "HOLD"]
    strength: Annotated[Number, Field(ge=-1, le=1)]
    confidence: Annotated[Number, Field(ge=0, le=1)]
    predicted_return: Number


class Signal(Message):
    """An ensemble's decision on one tick. De-duplicated by `id`: the first published wins."""

    TYPE: ClassVar[str] = "signal"

    kind: Literal["signal"] = "signal"
    id: SignalId
    ensemble: Name
    version: Version
    ticker: Ticker
    timeframe: Timeframe
    event_time: Instant
    revision: Count
    supersedes: SignalId | None = None
    """The signal of the revision before this one."""
    emitted_at: Instant
    valid_until: Instant
    """The next bar's close by the calendar, plus grace; past it, do not act."""
    signal: Literal["BUY", "SELL", "HOLD"]
    target_position: Position | None
    """What to hold now: 1 long, 0 flat, -1 short; null: no opinion."""
    confidence: Annotated[Number, Field(ge=0, le=1)]
    score: Annotated[Number, Field(ge=-1, le=1)] | None
    p_correct: Annotated[Number, Field(ge=0, le=1)] | None
    """Calibrated chance that the direction is right."""
    edge_bps: Number | None
    """Expected return over the horizon, in basis points, signed."""
    num_models: Count
    voting_method: Voting
    votes: tuple[Vote, ...]
    model_age: Annotated[Number, Field(ge=0)] | None
    """Seconds from the end of training data to the event time."""
    gate: Literal["passed", "overridden"]
    mode: Mode
    reasons: tuple[Reason, ...] = ()
    """Why it abstains, or did not act on its score."""
    experiment: Name | None
    calibration_id: ShortText | None
    control_epoch: Sequence = 0
    price: Annotated[Number, Field(gt=0)] | None = None
    """The tick's: with it, what following the signals earns can be computed from them alone."""


class TickSkipped(Message):
    """A tick that gave no signal, and why."""

    TYPE: ClassVar[str] = "signal.tick_skipped"

    kind: Literal["tick_skipped"] = "tick_skipped"
    ticker: Ticker
    timeframe: Timeframe
    event_time: Instant
    revision: Count
    ensemble: Name | None = None
    """Null: none of them answered."""
    reason: Literal["ttl", "conflated", "late", "halted", "dead_letter"]
    emitted_at: Instant
    mode: Mode


class NewestTick(Part):
    timeframe: Timeframe
    event_time: Instant


class ServingVersion(Part):
    ensemble: Name
    version: Version
    digest: Digest


class HaltInEffect(Part):
    """A halt that acts now: no signal need come for it to be followed."""

    scope: Scope
    action: HaltAction
    epoch: Sequence
    expires_at: Instant | None
    """Null: until it is lifted."""


class Heartbeat(Message):
    """Every 5 s on every partition of signals: silence is thereby never ambiguous."""

    TYPE: ClassVar[str] = "signal.heartbeat"

    kind: Literal["heartbeat"] = "heartbeat"
    instance: Name
    partition: Count
    """Of signals, and of the ticks that they answer."""
    emitted_at: Instant
    state: Literal["live", "degraded", "stale", "halted"]
    """halted: everything is; stale: ticks wait, and none is handled; degraded: an ensemble does not answer, or the lag
    is not known."""
    lag: Count
    """Ticks of the partition that are not handled yet, when it was last known."""
    newest: tuple[NewestTick, ...] = ()
    """The newest bar answered by this instance, by timeframe."""
    serving: tuple[ServingVersion, ...] = ()
    halts: tuple[HaltInEffect, ...] = ()
    """Every halt that acts now, whatever its scope."""


SignalMessage = Annotated[Signal | TickSkipped | Heartbeat, Field(discriminator="kind")]
