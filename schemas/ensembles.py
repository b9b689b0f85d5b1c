"""Ensemble events: which version serves. Keyed by ensemble, ordered by sequence; the topic is compacted."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    Digest,
    Instant,
    Message,
    Mode,
    Name,
    Number,
    Reason,
    RequestId,
    Sequence,
    Ticker,
    Timeframe,
    Version,
)


class _EnsembleEvent(Message):
    ensemble: Name
    sequence: Sequence
    version: Version
    serving_version: Version | None
    """The version that answers ticks now; null: none."""
    emitted_at: Instant
    command_id: RequestId | None = None
    """The command that asked for it; null: none did."""


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
    """What following the ensemble's signals has earned so far."""

    TYPE: ClassVar[str] = "ensemble.performance"
    event: Literal["performance"] = "performance"
    sessions: Count
    signals: Count
    hit_rate: Number | None
    net_sharpe: Number | None
    net_return: Number


EnsembleEvent = Annotated[
    EnsembleDeploying | EnsembleDeployed | EnsembleFailed | EnsembleRolledBack | EnsembleDeleted | EnsemblePerformance,
    Field(discriminator="event"),
]
