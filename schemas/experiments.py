"""Experiment events: a search request's life. Keyed by experiment, or by request where there is no experiment."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    AlgorithmName,
    Count,
    Digest,
    Instant,
    Json,
    Message,
    Name,
    Number,
    Part,
    Reason,
    RequestId,
    Scalar,
    Sequence,
    ShortText,
    Ticker,
    Whole,
)
from schemas.search import StrategyName


class GateVerdict(Part):
    """What the gate measured and decided. A figure is null where it is not defined."""

    passed: bool
    deflated_sharpe: Number | None
    """Probability that the ensemble's out-of-fold Sharpe is above what the best of N trials shows by luck."""
    active_deflated_sharpe: Number | None
    """The same of the part that is not merely holding the mean position."""
    holdout_psr: Number | None = None
    looks: Count = 0
    """The number of this look at overlapping hold-outs, the largest over tickers."""
    trials: Count
    """N of the deflation: every configuration ever scored in the lineages of its tickers."""
    benchmark_sharpe: Number | None
    """SR* of the deflation, per session."""
    sharpe_ratio: Number | None
    """Of the ensemble out of fold, annualised."""
    sessions: Count
    required: Annotated[Number, Field(ge=0, le=1)]
    overridden: bool = False
    reasons: tuple[Reason, ...] = ()


class Survivor(Part):
    """A completed trial that selection kept."""

    trial: Name
    tickers: tuple[Ticker, ...]
    configuration: dict[str, Scalar]
    rank: Annotated[int, Whole(1, 1_000_000_000)]
    metric: Number


class _ExperimentEvent(Message):
    experiment: Name | None
    """Null only where a request was rejected."""
    request_id: RequestId
    sequence: Sequence
    """Grows by one with every event of the key."""
    emitted_at: Instant
    cause: dict[ShortText, Json] | None = None
    """Why it was asked for, where something other than a person asked."""


class ExperimentAccepted(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.accepted"
    event: Literal["accepted"] = "accepted"
    experiment: Name
    name: Name
    strategy: StrategyName
    algorithm: AlgorithmName
    tickers: tuple[Ticker, ...]
    trials: Count
    search_key: Digest


class ExperimentDuplicate(_ExperimentEvent):
    """The request asks for work that is under way or known; `experiment` does it."""

    TYPE: ClassVar[str] = "experiment.duplicate"
    event: Literal["duplicate"] = "duplicate"
    experiment: Name


class ExperimentRejected(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.rejected"
    event: Literal["rejected"] = "rejected"
    experiment: None = None
    reasons: tuple[Reason, ...]


class ExperimentWaiting(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.waiting"
    event: Literal["waiting"] = "waiting"
    experiment: Name
    position: Count
    """How many will begin before it."""


class ExperimentStarted(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.started"
    event: Literal["started"] = "started"
    experiment: Name
    trials: Count
    data_hash: dict[Ticker, Digest]


class ExperimentProgress(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.progress"
    event: Literal["progress"] = "progress"
    experiment: Name
    finished: Count
    failed: Count
    trials: Count
    best: Number | None
    """Best value of the metric so far."""
    cached: Count = 0
    """Steps of training that were known by their fingerprints, so that no worker took them up."""


class ExperimentCompleted(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.completed"
    event: Literal["completed"] = "completed"
    experiment: Name
    finished: Count
    failed: Count
    best: Number | None
    deflated_sharpe: Number | None
    """Of the best trial, over every configuration of the lineage."""
    seconds: Annotated[Number, Field(ge=0)]
    cached: Count = 0
    """Steps of training that were known by their fingerprints, so that no worker took them up."""


class ExperimentFailed(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.failed"
    event: Literal["failed"] = "failed"
    experiment: Name
    reasons: tuple[Reason, ...]


class ExperimentCancelled(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.cancelled"
    event: Literal["cancelled"] = "cancelled"
    experiment: Name


class SurvivorsSelected(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.survivors_selected"
    event: Literal["survivors_selected"] = "survivors_selected"
    experiment: Name
    survivors: tuple[Survivor, ...]
    passed_over: tuple[Reason, ...] = ()
    """Better trials that were left out, and why."""
    effective_votes: dict[Ticker, Number] = Field(default_factory=dict)
    """By ticker: how many independent votes its survivors are worth."""


class GatePassed(_ExperimentEvent):
    TYPE: ClassVar[str] = "experiment.gate_passed"
    event: Literal["gate_passed"] = "gate_passed"
    experiment: Name
    verdict: GateVerdict


class GateRefused(_ExperimentEvent):
    """The gate did not pass. `verdict.overridden` says that the request went on all the same."""

    TYPE: ClassVar[str] = "experiment.gate_refused"
    event: Literal["gate_refused"] = "gate_refused"
    experiment: Name
    verdict: GateVerdict


ExperimentEvent = Annotated[
    ExperimentAccepted
    | ExperimentDuplicate
    | ExperimentRejected
    | ExperimentWaiting
    | ExperimentStarted
    | ExperimentProgress
    | ExperimentCompleted
    | ExperimentFailed
    | ExperimentCancelled
    | SurvivorsSelected
    | GatePassed
    | GateRefused,
    Field(discriminator="event"),
]
