"""Ensemble events: which version serves. Keyed by ensemble, ordered by sequence; the topic is compacted."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    Digest,
    Instant,
    Json,
    Message,
    Mode,
    Name,
    Number,
    Reason,
    RequestId,
    Sequence,
    ShortText,
    Ticker,
    Timeframe,
    Version,
)

FilledAt = Literal["same_close", "next_close"]


class _EnsembleEvent(Message):
    ensemble: Name
    sequence: Sequence
    version: Version
    serving_version: Version | None
    """The version that answers ticks now; null: none."""
    emitted_at: Instant
    command_id: RequestId | None = None
    """The command that asked for it; null: none did."""
    cause: dict[ShortText, Json] | None = None
    """Why the version was searched for, where something other than a person asked."""


class EnsembleDeploying(_EnsembleEvent):
    TYPE: ClassVar[str] = "ensemble.deploying"
    event: Literal["deploying"] = "deploying"
    experiment: Name | None


class EnsembleDeployed(_EnsembleEvent):
    TYPE: ClassVar[str] = "ensemble.deployed"
    event: Literal["deployed"] = "deployed"
    experiment: Name | None
    tickers: tuple[Ticker, ...]
    timeframe: Timeframe
    mode: Mode
    members: Count
    manifest_digest: Digest


class EnsembleFailed(_EnsembleEvent):
    """The version could not be served; `serving_version` goes on."""

    TYPE: ClassVar[str] = "ensemble.failed"
    event: Literal["failed"] = "failed"
    reasons: tuple[Reason, ...]


class EnsembleRolledBack(_EnsembleEvent):
    """`version` serves no longer: an earlier one, `serving_version`, does again."""

    TYPE: ClassVar[str] = "ensemble.rolled_back"
    event: Literal["rolled_back"] = "rolled_back"
    reasons: tuple[Reason, ...] = ()


class EnsembleDeleted(_EnsembleEvent):
    TYPE: ClassVar[str] = "ensemble.deleted"
    event: Literal["deleted"] = "deleted"


class EnsemblePerformance(_EnsembleEvent):
    """What following the ensemble's signals of one mode has earned so far, where ticks carry a price.

    `version` is the one that answered last. A stake is divided equally among a version's instruments, and not
    compounded.
    """

    TYPE: ClassVar[str] = "ensemble.performance"
    event: Literal["performance"] = "performance"
    sessions: Count
    """With a bar whose profit is known, flat ones among them."""
    signals: Count
    """Bars answered since the first one with an opinion."""
    hit_rate: Number | None
    """Share of the bars held, with a price that moved, on which it moved the position's way."""
    net_sharpe: Number | None
    """Of profit by session after costs, annualised; null: it has no variance yet."""
    net_return: Number
    """After costs, as a share of the stake."""
    mode: Mode | None = None
    """How the signals are heard."""
    since: Instant | None = None
    """The first bar with an opinion."""
    through: Instant | None = None
    """The newest bar."""
    confidence: Annotated[Number, Field(ge=0, le=1)] | None = None
    """The probability that the true Sharpe ratio is above 0."""
    filled_at: FilledAt | None = None
    """The close at which a change of position is taken to be carried out. Signals carry no opens: also an ensemble that
    is executed at the next open is followed at the next close."""


EnsembleEvent = Annotated[
    EnsembleDeploying | EnsembleDeployed | EnsembleFailed | EnsembleRolledBack | EnsembleDeleted | EnsemblePerformance,
    Field(discriminator="event"),
]
