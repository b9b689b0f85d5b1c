"""Trial events: what happens to one configuration on one ticker. Keyed by experiment, ordered by sequence."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Count, Digest, Instant, Message, Name, Number, Reason, Scalar, Sequence, Ticker


class _TrialEvent(Message):
    experiment: Name
    sequence: Sequence
    """Grows by one with every trial event of the experiment."""
    trial: Name
    tickers: tuple[Ticker, ...]
    """One; all of them in a multi-ticker search."""
    configuration: dict[str, Scalar]
    fingerprint: Digest
    data_hash: Digest
    emitted_at: Instant


class TrialCreated(_TrialEvent):
    """The trial is planned."""

    TYPE: ClassVar[str] = "trial.created"
    event: Literal["created"] = "created"
    parent: Name | None = None
    """The trial that this one is a mutated clone of."""


class TrialStarted(_TrialEvent):
    """A worker took the trial up."""

    TYPE: ClassVar[str] = "trial.started"
    event: Literal["started"] = "started"


class TrialReported(_TrialEvent):
    """An intermediate result."""

    TYPE: ClassVar[str] = "trial.reported"
    event: Literal["reported"] = "reported"
    step: Count
    budget: Count | None = None
    """Until which it has been trained in all: rounds, epochs, or percent of the training rows, as the family has it."""
    metrics: dict[str, Number | None]
    recorded_by: Name | None = None
    """The experiment that trained it so far, where the result was known."""


class TrialCompleted(_TrialEvent):
    """The trial has its final score. A metric is null where it is not defined (no variance, no trades)."""

    TYPE: ClassVar[str] = "trial.completed"
    event: Literal["completed"] = "completed"
    metrics: dict[str, Number | None]
    eligible: bool
    """False: never selected; `reasons` say why."""
    reasons: tuple[Reason, ...] = ()
    seconds: Annotated[Number, Field(ge=0)]


class TrialStoppedEarly(_TrialEvent):
    """The scheduler stopped the trial."""

    TYPE: ClassVar[str] = "trial.stopped_early"
    event: Literal["stopped_early"] = "stopped_early"
    metrics: dict[str, Number | None]


class TrialFailed(_TrialEvent):
    """The trial ended without a score."""

    TYPE: ClassVar[str] = "trial.failed"
    event: Literal["failed"] = "failed"
    reasons: tuple[Reason, ...]


class TrialCached(_TrialEvent):
    """What the trial was trained by was known; the recorded result is its final score."""

    TYPE: ClassVar[str] = "trial.cached"
    event: Literal["cached"] = "cached"
    metrics: dict[str, Number | None]
    eligible: bool
    """False: never selected; `reasons` say why."""
    reasons: tuple[Reason, ...] = ()
    recorded_by: Name
    """The experiment that trained it; the trial's own where it had trained the same before."""
    recorded_trial: Name | None = None
    """The trial of that experiment."""


TrialEvent = Annotated[
    TrialCreated | TrialStarted | TrialReported | TrialCompleted | TrialStoppedEarly | TrialFailed | TrialCached,
    Field(discriminator="event"),
]
