"""Whatever goes wrong, as problem details (RFC 9457): every reason at once, each with its field and what is allowed."""

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from orchestrator.api.ports import NotSent, Unreachable
from orchestrator.api.reading import NotFound
from orchestrator.core.errors import Refused
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from schemas.base import Reason
from schemas.envelope import Undecodable
from schemas.predictions import Problem

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
NO_DATABASE = "the database does not answer; ask again in a moment"
"""What is told of it: what it says itself may hold its address, and is for the log."""
_NO_JSON = frozenset({"no_value", "not_utf8", "not_json"})


class Conflict(Exception):
    """What is asked for cannot be done now.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(str(reason))


def problem(status: HTTPStatus, reasons: Sequence[Reason], headers: dict[str, str] | None = None) -> Response:
    """Problem details."""
    body = Problem(
        title=status.phrase,
        status=status.value,
        detail="; ".join(map(str, reasons))[:4096],
        reasons=tuple(reasons),
    )
    return Response(body.model_dump_json(), status.value, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have the application answer with problem details whatever is raised."""

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(request: Request, error: RequestValidationError) -> Response:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, [_of_parameter(each) for each in error.errors()])

    @app.exception_handler(Undecodable)
    async def undecodable(request: Request, error: Undecodable) -> Response:
        unread = any(reason.code in _NO_JSON for reason in error.reasons)
        return problem(HTTPStatus.BAD_REQUEST if unread else HTTPStatus.UNPROCESSABLE_ENTITY, error.reasons)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.reasons)

    @app.exception_handler(NotFound)
    async def not_found(request: Request, error: NotFound) -> Response:
        reason = Reason(code=f"unknown_{error.what}", where=error.name[:256], message=str(error))
        return problem(HTTPStatus.NOT_FOUND, [reason])

    @app.exception_handler(Conflict)
    async def conflict(request: Request, error: Conflict) -> Response:
        return problem(HTTPStatus.CONFLICT, [error.reason])

    @app.exception_handler(NotSent)
    async def not_sent(request: Request, error: NotSent) -> Response:
        message = f"{error}: nothing was asked for; ask again under the same id"
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, [Reason(code="not_sent", message=message)])

    @app.exception_handler(Unreachable)
    async def unreachable(request: Request, error: Unreachable) -> Response:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, [Reason(code="unreachable", message=str(error)[:4096])])

    @app.exception_handler(DatabaseAway)
    async def database_away(request: Request, error: DatabaseAway) -> Response:
        return _no_database(error)

    @app.exception_handler(UnusableDatabase)
    async def unusable_database(request: Request, error: UnusableDatabase) -> Response:
        return _no_database(error)

    @app.exception_handler(SQLAlchemyError)
    async def database_fails(request: Request, error: SQLAlchemyError) -> Response:
        return _no_database(error)

    @app.exception_handler(HTTPException)
    async def by_the_framework(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        message = {
            HTTPStatus.NOT_FOUND: f"nothing is at {request.url.path}: /openapi.json lists what is",
            HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not answered here",
        }.get(status, str(error.detail))
        reason = Reason(code=status.name.lower(), message=message[:4096])
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        return problem(status, [reason], headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        # Whoever asks is not shown the inside of it; it is logged where it happened.
        reason = Reason(code="failed", message="this could not be answered; the API's log tells why")
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, [reason])


def _methods(app: FastAPI, request: Request) -> set[str]:
    """What is answered at a place; each of its methods is a route of its own."""
    paths, asked = app.openapi()["paths"], request.url.path
    here = [asked] if asked in paths else [path for path in paths if compile_path(path)[0].match(asked)]
    return {method.upper() for path in here for method in paths[path]}


def _no_database(error: Exception) -> Response:
    log.error("database_away", error=str(error))
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, [Reason(code="database_away", message=NO_DATABASE)])


def _of_parameter(error: dict[str, object]) -> Reason:
    location = error.get("loc")
    where = "/".join(map(str, location)) if isinstance(location, tuple) else ""
    return Reason(code="wrong_parameter", where=where[:256], message=str(error.get("msg", ""))[:4096])
