"""What endpoints have in common: the ports, the ids that they make up, and answers."""

import hashlib
import secrets
from collections import OrderedDict
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.ports import Faces
from orchestrator.api.reading import Reading
from schemas.base import Name, pattern_of

_LONGEST_NAME = 64
_REMEMBERED = 10_000


def _faces(request: Request) -> Faces:
    found: Faces = request.app.state.faces
    return found


def _reading(request: Request) -> Reading:
    found: Reading = request.app.state.reading
    return found


def _remembered(request: Request) -> "Remembered":
    found: Remembered = request.app.state.remembered
    return found


class Remembered:
    """The newest that this process has produced: by a name or an id, the id under which it will be settled."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, str] = OrderedDict()

    def note(self, name: str, settled_as: str) -> None:
        """Something was produced under a name."""
        self._ids[name] = settled_as
        while len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)

    def get(self, name: str) -> str | None:
        """Under which id the newest of that name will be settled; None: it was not produced here, or long ago."""
        return self._ids.get(name)


Given = Annotated[Faces, Depends(_faces)]
Read = Annotated[Reading, Depends(_reading)]
Newest = Annotated[Remembered, Depends(_remembered)]
NameInPath = Annotated[str, Path(pattern=pattern_of(Name))]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]
Limit = Annotated[int, Query(ge=1, le=500)]


def made_name(kind: str, now: datetime) -> str:
    """A name that tells what it is and of when, and that no other has."""
    stamp = f"_{now:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"
    return kind[: _LONGEST_NAME - len(stamp)] + stamp


def name_of(kind: str, request_id: str) -> str:
    """The name of what is asked for under an id: the same when it is asked for again."""
    digest = f"_{hashlib.sha256(request_id.encode()).hexdigest()[:12]}"
    return kind[: _LONGEST_NAME - len(digest)] + digest


def made_id(now: datetime) -> str:
    """An id for a command or a request."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def answer(view: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A view as JSON; it was made here, so it is not judged again."""
    return Response(view.model_dump_json(), status, headers, "application/json")
