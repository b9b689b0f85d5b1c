"""What has become of commands."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from starlette.responses import Response

from orchestrator.api.asking import Newest, Read, answer
from orchestrator.api.reading import NotFound
from orchestrator.api.views import View
from orchestrator.core.versions import VersionState
from schemas.base import Instant, Reason, RequestId, pattern_of

router = APIRouter(prefix="/commands", tags=["commands"])


class CommandView(View):
    """A command.

    `sent`: it has not been taken up; `under_way`: what it asks for is being made; `done`: it was carried out, or,
    where the gate has the last word, settled: the ensemble and the experiment tell how; `refused`: see `reasons`.
    """

    command_id: str
    state: Literal["sent", "under_way", "done", "refused"]
    received_at: Instant | None = None
    reasons: tuple[Reason, ...] = ()
    ensemble: str | None = None
    version: int | None = None
    """The version that was made, or serves again."""
    version_state: VersionState | None = None


@router.get("/{command_id}", response_model=CommandView, summary="What has become of a command")
async def one(command_id: Annotated[str, Path(pattern=pattern_of(RequestId))], read: Read, newest: Newest) -> Response:
    found = await read.command(command_id)
    if found is None:
        if newest.get(command_id) is None:
            raise NotFound("command", command_id)
        return answer(CommandView(command_id=command_id, state="sent"))
    made = found.made
    failed = made is not None and made.state is VersionState.FAILED
    reasons = found.reasons or (made.reasons if failed and made is not None else ())
    return answer(
        CommandView(
            command_id=command_id,
            state="refused" if reasons or failed else "under_way" if found.under_way else "done",
            received_at=found.received_at,
            reasons=reasons,
            ensemble=None if made is None else made.ensemble,
            version=None if made is None else made.version,
            version_state=None if made is None else made.state,
        )
    )
