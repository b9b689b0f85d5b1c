"""Commands: what an operator asks of something that exists. Keyed by the name of their target."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    Digest,
    Instant,
    Instruction,
    Json,
    Mode,
    Name,
    Number,
    Reason,
    RequestId,
    Sequence,
    ShortText,
    Ticker,
    Version,
    Voting,
    Whole,
)
from schemas.policies import Policy


class _Command(Instruction):
    command_id: RequestId
    issued_at: Instant
    actor: ShortText | None = None


class Cancel(_Command):
    """Stop an experiment; its finished trials stay."""

    TYPE: ClassVar[str] = "command.cancel"
    command: Literal["cancel"] = "cancel"
    experiment: Name


class Resume(_Command):
    """Run what an experiment left unfinished."""

    TYPE: ClassVar[str] = "command.resume"
    command: Literal["resume"] = "resume"
    experiment: Name


class DeployEnsemble(_Command):
    """Deploy an experiment's survivors, or registered models, as a new version of an ensemble."""

    TYPE: ClassVar[str] = "command.deploy"
    command: Literal["deploy"] = "deploy"
    ensemble: Name
    experiment: Name | None = None
    models: tuple[Digest, ...] = ()
    top_n: Annotated[int, Whole(1, 100)] = 5
    voting: Voting | None = None
    threshold: Annotated[Number, Field(gt=0, le=1)] | None = None
    mode: Mode = "live"
    gate: bool = True


class AddMember(_Command):
    """Deploy a new version of an ensemble with one registered model more."""

    TYPE: ClassVar[str] = "command.add_member"
    command: Literal["add_member"] = "add_member"
    ensemble: Name
    model: Digest
    ticker: Ticker | None = None


class RollBack(_Command):
    """Serve an earlier version again; absent: the one before."""

    TYPE: ClassVar[str] = "command.roll_back"
    command: Literal["roll_back"] = "roll_back"
    ensemble: Name
    version: Version | None = None
    reasons: tuple[Reason, ...] = ()
    """Why the version that serves is to give way, where a rule says so."""


class Delete(_Command):
    """Stop serving an ensemble."""

    TYPE: ClassVar[str] = "command.delete"
    command: Literal["delete"] = "delete"
    ensemble: Name


class Promote(_Command):
    """Make a challenger the champion."""

    TYPE: ClassVar[str] = "command.promote"
    command: Literal["promote"] = "promote"
    ensemble: Name
    version: Version
    tickers: tuple[Ticker, ...] = ()
    """As a canary: it is heard on these alone, and the champion on the others. Empty: on all."""
    reasons: tuple[Reason, ...] = ()
    """What speaks for it, where a rule says so."""


class Retire(_Command):
    """End a challenger; the champion goes on."""

    TYPE: ClassVar[str] = "command.retire"
    command: Literal["retire"] = "retire"
    ensemble: Name
    version: Version
    reasons: tuple[Reason, ...] = ()
    """What speaks against it, where a rule says so."""


class SetPolicy(_Command):
    """Say when an ensemble is trained anew, instead of what was said before."""

    TYPE: ClassVar[str] = "command.set_policy"
    command: Literal["set_policy"] = "set_policy"
    ensemble: Name
    policy: Policy


class RemovePolicy(_Command):
    """Train an ensemble anew no more; its challenger, if there is one, stays until it is promoted or retired."""

    TYPE: ClassVar[str] = "command.remove_policy"
    command: Literal["remove_policy"] = "remove_policy"
    ensemble: Name


class Retrain(_Command):
    """Train an ensemble anew by its policy, now; inside the cool-down it joins what was triggered before."""

    TYPE: ClassVar[str] = "command.retrain"
    command: Literal["retrain"] = "retrain"
    ensemble: Name
    cause: dict[ShortText, Json] = Field(default_factory=dict)
    """Why, in the sender's own words."""


class ResendDeadLetter(_Command):
    """Produce a dead letter's original bytes to the topic it came from."""

    TYPE: ClassVar[str] = "command.resend_dead_letter"
    command: Literal["resend_dead_letter"] = "resend_dead_letter"
    topic: ShortText
    partition: Count
    offset: Sequence


Command = Annotated[
    Cancel
    | Resume
    | DeployEnsemble
    | AddMember
    | RollBack
    | Delete
    | Promote
    | Retire
    | SetPolicy
    | RemovePolicy
    | Retrain
    | ResendDeadLetter,
    Field(discriminator="command"),
]
