"""An operator's command: produced, and waited for until it is carried out."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from schemas.base import JsonObject, Message, format_instant
from schemas.commands import Command
from schemas.envelope import Undecodable, decode
from schemas.topics import COMMANDS
from streams.requesting import NotProduced, Order, answer_to, made_id, produce_command
from streams.terminal import WRONG_USE, asked, broker_troubles, connection, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.store.commands import Standing
    from orchestrator.store.database import Database

ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.2
Given = TypeVar("Given", bound=Message)


def order(kind: type[Order], fields: JsonObject, *, patience: float = ANSWER_SECONDS) -> Message:
    """Produce a command, and wait for the event that tells of it; without one, the program ends with the reasons.

    Args:
        kind: the command.
        fields: what it says; what identifies it is added.
        patience: seconds to wait.
    """
    command, config = identified(kind, fields), connection(settings())
    with broker_troubles():
        try:
            produce_command(config, command)
        except NotProduced as error:
            raise fail(str(error)) from None
        answer = answer_to(config, command, patience=patience)
    if answer is None:
        raise fail(
            f"nothing heard of command {command.command_id} yet: it is on {COMMANDS.name}, and is carried out when the "
            "service runs"
        )
    if answer.event is None:
        raise fail("\n".join(reason.message for reason in answer.reasons))
    return answer.event


def settle(command: Command, *, patience: float = ANSWER_SECONDS) -> "Standing":
    """Produce a command, and wait until the database has what became of it.

    Where nothing is heard of it, or it was refused, the program ends with the reasons.

    Args:
        command: as `identified` makes it.
        patience: seconds to wait.
    """
    with broker_troubles():
        try:
            produce_command(connection(settings()), command)
        except NotProduced as error:
            raise fail(str(error)) from None
    found = _settled(command.command_id, patience)
    if found is None:
        raise fail(
            f"nothing heard of command {command.command_id} yet: it is on {COMMANDS.name}, and is carried out when the "
            "service runs"
        )
    reasons = found.reasons or (found.made.reasons if found.made is not None and not found.under_way else ())
    if reasons:
        raise fail("\n".join(reason.message for reason in reasons))
    return found


def _settled(command_id: str, patience: float) -> "Standing | None":
    """What has become of a command once it is no more under way; None: nothing yet, and long enough waited for."""
    from orchestrator.store import commands

    async def look(database: "Database") -> "Standing | None":
        deadline = time.monotonic() + patience
        while True:
            async with database.snapshot() as tx:
                found = await commands.standing(tx, command_id)
            if (found is not None and not found.under_way) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    return asked(look)


def identified(kind: type[Given], fields: JsonObject) -> Given:
    """A command that is given now, under an id of its own; what is wrong with it ends the program with 2."""
    now = datetime.now(UTC)
    identity = {"command_id": made_id(now), "issued_at": format_instant(now)}
    try:
        command: Given = decode(kind, json.dumps(identity | fields).encode())
    except Undecodable as error:
        raise fail("\n".join(f"{each.where}: {each.message}" for each in error.reasons), WRONG_USE) from None
    return command
