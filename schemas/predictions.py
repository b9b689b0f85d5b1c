"""Predictions over HTTP: `POST /{ensemble}` on Ray Serve. Nothing is kept of them, and no signal is published."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    FeatureName,
    Instant,
    Instruction,
    Message,
    Mode,
    Name,
    Number,
    Position,
    Reason,
    ShortText,
    Ticker,
    Timeframe,
    Version,
    Voting,
)
from schemas.signals import Vote


class PredictionRequest(Instruction):
    """The features of one bar; features that no member takes are left out of account."""

    TYPE: ClassVar[str] = "prediction.request"

    features: Annotated[dict[FeatureName, Number | None], Field(max_length=10_000)]
    """Value by name; null is the same as absent."""
    ticker: Ticker | None = None
    """May be absent where the ensemble covers one only."""
    timeframe: Timeframe | None = None
    """Absent: the ensemble's."""


class Prediction(Message):
    """What the ensemble says to the features, for one who holds nothing."""

    TYPE: ClassVar[str] = "prediction"

    signal: Literal["BUY", "SELL", "HOLD"]
    confidence: Annotated[Number, Field(ge=0, le=1)]
    num_models: Count
    voting_method: Voting
    ensemble: Name
    version: Version
    ticker: Ticker
    timeframe: Timeframe
    target_position: Position | None
    """What to hold: 1 long, 0 flat, -1 short; null: no opinion."""
    score: Annotated[Number, Field(ge=-1, le=1)] | None
    p_correct: Annotated[Number, Field(ge=0, le=1)] | None
    edge_bps: Number | None
    votes: tuple[Vote, ...]
    mode: Mode
    gate: Literal["passed", "overridden"]
    trained_through: Instant
    reasons: tuple[Reason, ...] = ()
    """Why it abstains, or did not act on its score."""
    experiment: Name
    calibration_id: ShortText | None


class Problem(Message):
    """Why there is no prediction, as RFC 9457 (`application/problem+json`) has it."""

    TYPE: ClassVar[str] = "problem"

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    reasons: tuple[Reason, ...]
