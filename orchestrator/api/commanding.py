"""Commands: sent as messages, and looked up where they are settled."""

from datetime import datetime
from typing import Literal

from starlette.responses import Response

from orchestrator.api.asking import Remembered, answer
from orchestrator.api.ports import Faces
from orchestrator.api.views import View
from schemas.commands import Command


class CommandSent(View):
    """A command that was sent; `GET /commands/{command_id}` tells what becomes of it."""

    command_id: str
    command: str
    issued_at: datetime
    state: Literal["sent"] = "sent"
    location: str


async def send(faces: Faces, newest: Remembered, command: Command) -> Response:
    """Produce a command, and answer that it was.

    Raises:
        NotSent: the broker did not take it.
    """
    await faces.kafka.command(command)
    newest.note(command.command_id, command.command_id)
    location = f"/commands/{command.command_id}"
    view = CommandSent(
        command_id=command.command_id, command=command.command, issued_at=command.issued_at, location=location
    )
    return answer(view, 202, {"Location": location})
