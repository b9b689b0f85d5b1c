"""The kill switch: what may be traded, by scope. The topic is compacted: a scope's newest message is the truth."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from schemas.base import Instant, Instruction, Sequence, ShortText

_NAME, _TICKER = "[A-Za-z0-9_-]{1,64}", "[A-Za-z0-9]{1,16}([._=-][A-Za-z0-9]{1,16}){0,2}"
Scope = Annotated[str, StringConstraints(pattern=f"^(all|ensemble:{_NAME}|ticker:{_TICKER})$")]
HaltAction = Literal["halt_new", "reduce_only", "flatten"]


class _Control(Instruction):
    scope: Scope
    """`all`, `ensemble:NAME` or `ticker:NAME`; the record's key."""
    epoch: Sequence
    """Grows with every message of a scope; an older one changes nothing."""
    actor: ShortText
    issued_at: Instant


class Halt(_Control):
    """No new positions (halt_new), only smaller ones (reduce_only), or none at all (flatten)."""

    TYPE: ClassVar[str] = "control.halt"
    control: Literal["halt"] = "halt"
    action: HaltAction
    reason: ShortText
    expires_at: Instant | None = None


class Lift(_Control):
    """Ends the halt of a scope."""

    TYPE: ClassVar[str] = "control.lift"
    control: Literal["lift"] = "lift"


Control = Annotated[Halt | Lift, Field(discriminator="control")]
