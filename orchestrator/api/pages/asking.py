"""Whatever a page changes is a message; then the page says what became of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from orchestrator.api.asking import made_id
from orchestrator.api.ports import Event, Faces, NotSent, Unreachable
from orchestrator.core.errors import Refused
from orchestrator.core.halting import Order
from orchestrator.store import commands
from schemas.base import Reason
from schemas.commands import AddMember, Command, DeployEnsemble, Promote, RollBack
from schemas.ensembles import EnsembleDeployed, EnsembleFailed
from schemas.experiments import ExperimentRejected, GateRefused
from schemas.topics import ENSEMBLE_EVENTS, EXPERIMENT_EVENTS

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.3
ACTOR = "dashboard"
_DEPLOYING = (DeployEnsemble, AddMember, RollBack)
"""Commands that end when a version serves, and not when they are taken up."""


@dataclass(frozen=True)
class Answer:
    """What became of a command, in words."""

    said: str
    good: bool


UNHEARD = Answer("asked for; nothing is heard of it yet. It is carried out once a worker runs", good=False)


def identity(faces: Faces) -> dict[str, Any]:
    """What identifies a command: a new id, when, and by whom."""
    now = faces.clock()
    return {"command_id": made_id(now), "issued_at": now, "actor": ACTOR}


def sentences(reasons: tuple[Reason, ...]) -> str:
    """Reasons for people."""
    return "; ".join(reason.message for reason in reasons) or "no reason was given"


async def order(faces: Faces, wanted: Order, what: str) -> None:
    """Halt or lift, and say what stands then."""
    with ui.context.client:
        _say(what, await _stands(faces, wanted))


async def _stands(faces: Faces, wanted: Order) -> Answer:
    try:
        stands = await faces.kafka.control(wanted)
    except (NotSent, Unreachable, Refused) as trouble:
        return Answer(f"not done. {trouble}", good=False)
    if (stands.control, stands.issued_at) == (wanted.control, wanted.issued_at):
        return Answer("written; every worker follows it", good=True)
    return Answer(f"overtaken: the {stands.control} by {stands.actor} stands", good=False)


async def command(faces: Faces, wanted: Command, what: str) -> bool:
    """Send a command and follow it to its end, in a notification; whether it was carried out.

    Args:
        faces: where it goes and where answers come from.
        wanted: the command.
        what: it, in words.
    """
    # The part of the page that it is asked from may be gone by the end.
    with ui.context.client:
        note = ui.notification(f"{what}: sending …", type="ongoing", timeout=None, position="bottom")
        answer = await _sent(faces, wanted, note, what)
        note.dismiss()
        _say(what, answer)
    return answer.good


async def _sent(faces: Faces, wanted: Command, note: ui.notification, what: str) -> Answer:
    try:
        async with faces.feed.follow({EXPERIMENT_EVENTS.name, ENSEMBLE_EVENTS.name}) as events:
            await faces.kafka.command(wanted)
            note.message = f"{what}: asked for"
            return await _answer(faces, events, wanted)
    except (NotSent, Unreachable) as trouble:
        return Answer(f"not sent. {trouble}", good=False)


async def _answer(faces: Faces, events: AsyncIterator[Event], wanted: Command) -> Answer:
    """What is heard of a command, or seen in the database, first."""
    tasks = {asyncio.ensure_future(_heard(events, wanted.command_id)), asyncio.ensure_future(_seen(faces, wanted))}
    done, left = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for each in left:
        each.cancel()
    for each in left:
        # The feed's iterator must be at rest before it is closed.
        with suppress(asyncio.CancelledError):
            await each
    return done.pop().result() if done else UNHEARD


async def _heard(events: AsyncIterator[Event], command_id: str) -> Answer:
    async for event in events:
        if answer := told(event.message, command_id):
            return answer
    return UNHEARD


async def _seen(faces: Faces, wanted: Command) -> Answer:
    """Whether a worker has taken it up: that is all of some commands; others go on."""
    while True:
        async with faces.database.snapshot() as tx:
            reasons = await commands.outcome(tx, wanted.command_id)
        if reasons:
            return Answer(f"refused. {sentences(reasons)}", good=False)
        if reasons is not None and not _deploys(wanted):
            return Answer("done", good=True)
        await asyncio.sleep(LOOK_SECONDS)


def _deploys(wanted: Command) -> bool:
    """Whether a command ends when a version serves; as a canary, the champion still does."""
    return isinstance(wanted, _DEPLOYING) or (isinstance(wanted, Promote) and not wanted.tickers)


def told(event: object, command_id: str) -> Answer | None:
    """What an event says of a command; None: nothing, or not yet."""
    match event:
        case EnsembleDeployed(command_id=whose) if whose == command_id:
            return Answer(f"version {event.version} of {event.ensemble} serves", good=True)
        case EnsembleFailed(command_id=whose) if whose == command_id:
            return Answer(f"version {event.version} could not be served. {sentences(event.reasons)}", good=False)
        case ExperimentRejected(request_id=whose) if whose == command_id:
            return Answer(f"refused. {sentences(event.reasons)}", good=False)
        case GateRefused(request_id=whose) if whose == command_id and not event.verdict.overridden:
            return Answer(f"the gate refused it. {sentences(event.verdict.reasons)}", good=False)
    return None


def _say(what: str, answer: Answer) -> None:
    ui.notification(
        f"{what}: {answer.said}",
        type="positive" if answer.good else "negative",
        position="bottom",
        multi_line=True,
        timeout=6.0 if answer.good else None,
        close_button="Close",
    )
