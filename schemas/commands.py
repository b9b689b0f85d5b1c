"""Commands: what an operator asks of something that exists. Keyed by the name of their target."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import (
    Count,
    Digest,
    Instant,
    Instruction,
    Mode,
    Name,
    Number,
    RequestId,
    Sequence,
    ShortText,
    Ticker,
    Version,
    Voting,
    Whole,
)


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


class ResendDeadLetter(_Command):
    """Produce a dead letter's original bytes to the topic it came from."""

    TYPE: ClassVar[str] = "command.resend_dead_letter"
    command: Literal["resend_dead_letter"] = "resend_dead_letter"
    topic: ShortText
    partition: Count
    offset: Sequence


Command = Annotated[
    Cancel | Resume | DeployEnsemble | AddMember | RollBack | Delete | Promote | ResendDeadLetter,
    Field(discriminator="command"),
]
