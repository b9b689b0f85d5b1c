"""An operator's command: produced, and waited for until it is carried out."""

import json
from datetime import UTC, datetime
from typing import TypeVar

from schemas.base import JsonObject, Message, format_instant
from schemas.envelope import Undecodable, decode
from schemas.topics import COMMANDS
from streams.requesting import NotProduced, Order, answer_to, made_id, produce_command
from streams.terminal import WRONG_USE, broker_troubles, connection, fail, settings

ANSWER_SECONDS = 30.0
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


def identified(kind: type[Given], fields: JsonObject) -> Given:
    """A command that is given now, under an id of its own; what is wrong with it ends the program with 2."""
    now = datetime.now(UTC)
    identity = {"command_id": made_id(now), "issued_at": format_instant(now)}
    try:
        command: Given = decode(kind, json.dumps(identity | fields).encode())
    except Undecodable as error:
        raise fail("\n".join(f"{each.where}: {each.message}" for each in error.reasons), WRONG_USE) from None
    return command
