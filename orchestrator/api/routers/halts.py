"""The kill switch."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import bodies
from orchestrator.api.asking import Given, answer
from orchestrator.api.bodies import HaltTrading
from orchestrator.api.views import View
from orchestrator.core.halting import in_effect
from schemas.base import Instant, pattern_of
from schemas.control import Halt, HaltAction, Lift, Scope

router = APIRouter(prefix="/halts", tags=["halts"])

_FIRST_EPOCH = 1
"""Whoever writes it sets the next one of its scope."""


class HaltLine(View):
    """A halt that acts now."""

    scope: str
    action: HaltAction
    reason: str
    actor: str
    issued_at: Instant
    expires_at: Instant | None
    """Null: until it is lifted."""
    epoch: int


class Halts(View):
    """Every halt that acts now."""

    halts: tuple[HaltLine, ...]


@router.get("", response_model=Halts, summary="The halts that act now")
async def every(faces: Given) -> Response:
    halts = in_effect(await faces.kafka.orders(), faces.clock())
    return answer(Halts(halts=tuple(HaltLine.model_validate(halt, from_attributes=True) for halt in halts.values())))


@router.post(
    "",
    response_model=Halts,
    summary="Halt everything, an ensemble or a ticker",
    openapi_extra=bodies.takes(
        HaltTrading,
        {
            "Leave everything": {"scope": "all", "action": "flatten", "reason": "the exchange is down"},
            "Open nothing new": {"scope": "ticker:AAPL", "action": "halt_new", "reason": "earnings"},
        },
    ),
)
async def halt(request: Request, faces: Given) -> Response:
    body, now = await bodies.read(request, HaltTrading), faces.clock()
    order = Halt(
        scope=body.scope,
        epoch=_FIRST_EPOCH,
        actor=body.actor,
        issued_at=now,
        action=body.action,
        reason=body.reason,
        expires_at=body.expires_at,
    )
    await faces.kafka.control(order)
    return await every(faces)


@router.delete("", response_model=Halts, summary="Lift the halt of a scope")
async def lift(
    faces: Given,
    scope: Annotated[str, Query(pattern=pattern_of(Scope), description="`all`, `ensemble:NAME` or `ticker:NAME`.")],
) -> Response:
    await faces.kafka.control(Lift(scope=scope, epoch=_FIRST_EPOCH, actor="rest", issued_at=faces.clock()))
    return await every(faces)
