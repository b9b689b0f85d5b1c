"""Retraining events: why an ensemble is trained anew, and what becomes of its challengers. Keyed by ensemble."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    Digest,
    FeatureName,
    Instant,
    Json,
    Message,
    Mode,
    Name,
    Number,
    Part,
    Reason,
    RequestId,
    Sequence,
    ShortText,
    Ticker,
    Timeframe,
    Version,
)


class _RetrainingEvent(Message):
    ensemble: Name
    sequence: Sequence
    version: Version
    serving_version: Version | None
    """The champion, which answers ticks now; null: none does."""
    emitted_at: Instant
    command_id: RequestId | None = None
    """The command that asked for it; null: none did."""
    cause: dict[ShortText, Json] | None = None
    """Why the version was searched for, or is to have a successor; null: a person asked."""


class RetrainingTriggered(_RetrainingEvent):
    """A policy's rule fired: the request of `request_id` asks for a successor of `version`. `cause` says why."""

    TYPE: ClassVar[str] = "retraining.triggered"
    event: Literal["triggered"] = "triggered"
    request_id: RequestId


class ChallengerShadowing(_RetrainingEvent):
    """The version is the challenger of the champion, `serving_version`: it answers its ticks on signals.shadow."""

    TYPE: ClassVar[str] = "retraining.shadowing"
    event: Literal["shadowing"] = "shadowing"
    experiment: Name | None
    tickers: tuple[Ticker, ...]
    timeframe: Timeframe
    members: Count
    manifest_digest: Digest


class ChallengerCanary(_RetrainingEvent):
    """The challenger is heard on some instruments, and the champion, `serving_version`, on the others."""

    TYPE: ClassVar[str] = "retraining.canary"
    event: Literal["canary"] = "canary"
    tickers: tuple[Ticker, ...]
    reasons: tuple[Reason, ...] = ()


class ChallengerPromoted(_RetrainingEvent):
    """The challenger is to be the champion instead of `serving_version`; `deployed` says when it is."""

    TYPE: ClassVar[str] = "retraining.promoted"
    event: Literal["promoted"] = "promoted"
    mode: Mode
    reasons: tuple[Reason, ...] = ()


class ChallengerRetired(_RetrainingEvent):
    """The challenger answers no more; the champion, `serving_version`, goes on."""

    TYPE: ClassVar[str] = "retraining.retired"
    event: Literal["retired"] = "retired"
    reasons: tuple[Reason, ...] = ()


class DetectorReading(Part):
    """How near a rule is to firing."""

    detector: Literal["drift", "outliers", "performance", "age", "schedule"]
    ticker: Ticker | None = None
    """Null: of all instruments together."""
    feature: FeatureName | None = None
    figure: Number | None
    """Null: there is not enough to tell. Days for age, hours until the next time for a schedule."""
    threshold: Number
    """It fires beyond it; below it for performance, until none is left for a schedule."""
    streak: Count = 0
    """Windows in a row beyond it."""
    window_start: Instant | None = None
    window_end: Instant | None = None


class DetectorsRead(_RetrainingEvent):
    """What the detectors say of the version that serves: of drift, the features that are nearest."""

    TYPE: ClassVar[str] = "retraining.detectors_read"
    event: Literal["detectors_read"] = "detectors_read"
    readings: tuple[DetectorReading, ...]


RetrainingEvent = Annotated[
    RetrainingTriggered
    | DetectorsRead
    | ChallengerShadowing
    | ChallengerCanary
    | ChallengerPromoted
    | ChallengerRetired,
    Field(discriminator="event"),
]
