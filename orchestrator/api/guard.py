"""The guard before REST and the dashboard: who may call, how often, and how much may be sent.

It judges every request, and every websocket before it is accepted, and tells what it refuses as problem details
(RFC 9457).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import login
from orchestrator.core.access import (
    CHALLENGE,
    host_name,
    key_digest,
    offered_key,
    opens,
    origin_host,
    session_holds,
    straight,
)
from orchestrator.core.errors import Refused
from schemas.base import Reason
from schemas.predictions import Problem

OPEN = frozenset({"/health", "/ready"})
"""What needs no key: those who start and balance the service ask it."""
UNMETERED = ("/health", "/dashboard/_nicegui")
"""What is not counted of those who show the key: the dashboard's own files and messages; a page has many of them."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """Who may call.

    Attributes:
        api_key: what every caller must show, but for `OPEN`; None: nothing.
        names: the host names that the server may be called by, in lower case.
        largest_body: of a request, in bytes.
        per_minute: requests of one client's address, without what is `UNMETERED`.
    """

    api_key: str | None = field(repr=False)
    names: frozenset[str]
    largest_body: int
    per_minute: int


class NotAdmitted(Refused):
    """The request does not come through."""

    status = HTTPStatus.FORBIDDEN
    headers: Mapping[str, str] = {}


class Crooked(NotAdmitted):
    """Its path may mean another place than it says."""

    status = HTTPStatus.BAD_REQUEST


class Foreign(NotAdmitted):
    """It comes by a name that is not the server's, or from another site's page."""


class KeyMissing(NotAdmitted):
    """It shows no key, or a wrong one."""

    status = HTTPStatus.UNAUTHORIZED
    headers: Mapping[str, str] = {"WWW-Authenticate": CHALLENGE}


class TooLarge(NotAdmitted):
    """Its body is longer than any request is."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooMany(NotAdmitted):
    """Its sender has asked too often."""

    status = HTTPStatus.TOO_MANY_REQUESTS


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Guard:
    """An ASGI application around another one.

    Args:
        app: what is guarded.
        rules: who may call it.
        clock: the time, in UTC.
    """

    def __init__(self, app: ASGIApp, rules: Rules, clock: Callable[[], datetime] = _utc_now) -> None:
        self._app = app
        self._rules = rules
        self._clock = clock
        self._digest = None if rules.api_key is None else key_digest(rules.api_key)
        self._rate = RateLimitItemPerMinute(rules.per_minute)
        self._counted = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the guarded application, or by a refusal."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        call = HTTPConnection(scope)
        try:
            _judge_path(scope)
            _judge_caller(call, self._rules.names)
            metered = not scope["path"].startswith(UNMETERED)
            if metered:
                await self._count(call)
            if self._rules.api_key is not None and scope["type"] == "http" and scope["path"] == login.PATH:
                response = await self._login(call, self._rules.api_key, receive)
                await response(scope, receive, _hardened(send))
                return
            try:
                self._judge_key(call)
            except KeyMissing:
                # Guesses at the key count wherever they are made.
                if not metered:
                    await self._count(call)
                raise
            if scope["type"] == "http":
                receive = await _received(call, receive, self._rules.largest_body)
        except NotAdmitted as refused:
            await _refuse(call, refused, receive, send)
            return
        except ClientDisconnect:
            return
        await self._app(scope, receive, _hardened(send) if scope["type"] == "http" else send)

    async def _count(self, call: HTTPConnection) -> None:
        """Count a request.

        Raises:
            TooMany: there were too many of this address in the last minute.
        """
        client = "" if call.client is None else call.client.host
        if not await self._counted.hit(self._rate, client):
            window = await self._counted.get_window_stats(self._rate, client)
            seconds = max(1, math.ceil(window.reset_time - self._clock().timestamp()))
            message = f"more than {self._rules.per_minute} requests in a minute: ask again in {seconds} s"
            refused = TooMany([Reason(code="too_many_requests", message=message)])
            refused.headers = {"Retry-After": str(seconds)}
            raise refused

    def _judge_key(self, call: HTTPConnection) -> None:
        """Raise KeyMissing unless a request shows the key, or the session of who has shown it."""
        key, digest = self._rules.api_key, self._digest
        if key is None or digest is None or call.scope["path"] in OPEN:
            return
        offered = offered_key(call.headers)
        if opens(offered, digest):
            return
        cookie = call.cookies.get(login.COOKIE)
        if offered is None and cookie is not None and session_holds(cookie, key, self._clock().timestamp()):
            return
        message = "send the service's API_KEY as `Authorization: Bearer KEY` or `X-API-Key: KEY`; browsers: see /login"
        if offered is None:
            raise KeyMissing([Reason(code="no_key", where="Authorization", message=message)])
        raise KeyMissing([Reason(code="wrong_key", where="Authorization", message=f"that is not the key: {message}")])

    async def _login(self, call: HTTPConnection, key: str, receive: Receive) -> Response:
        scope = call.scope
        if scope["method"] == "POST":
            body = await _body(call, receive, self._rules.largest_body)
            return login.answer(body, key, self._clock().timestamp(), secure=scope["scheme"] == "https")
        return login.ask(scope["query_string"])


def _judge_path(scope: Scope) -> None:
    raw = scope.get("raw_path") or scope["path"].encode()
    if not straight(scope["path"], raw.decode("latin-1")):
        message = "a path may hold no `.` or `..`, no encoded slash, no backslash and no control character"
        raise Crooked([Reason(code="crooked_path", message=message)])


def _judge_caller(call: HTTPConnection, names: frozenset[str]) -> None:
    """Refuse what is sent to another name, as a page whose name was rebound to this address does, and what a page of
    another site has a browser send. Links of other sites that lead here are followed.

    Raises:
        Foreign: it is such a request.
    """
    hosts = call.headers.getlist("host")
    if len(hosts) != 1 or host_name(hosts[0]) not in names:
        message = (
            f"the host {', '.join(hosts)} is none of this server's names: call it by one of "
            f"{', '.join(sorted(names))}, or add yours to API_NAMES"
        )
        raise Foreign([Reason(code="foreign_host", where="Host", message=message[:4096])])
    origin, site = call.headers.get("origin"), call.headers.get("sec-fetch-site", "none")
    if origin is not None and origin_host(origin) != hosts[0].lower():
        message = f"pages of {origin} may not ask here: only those of {hosts[0]} may"
        raise Foreign([Reason(code="foreign_origin", where="Origin", message=message[:4096])])
    if site not in ("same-origin", "none") and not _follows_link(call):
        message = "pages of other sites may not ask here"
        raise Foreign([Reason(code="foreign_origin", where="Sec-Fetch-Site", message=message)])


def _follows_link(call: HTTPConnection) -> bool:
    headers = call.headers
    return (
        call.scope.get("method") in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


async def _received(call: HTTPConnection, receive: Receive, largest: int) -> Receive:
    """The body as one message, and what comes after it.

    Raises:
        TooLarge: it is longer than allowed; the rest is not read.
    """
    whole: Message = {"type": "http.request", "body": await _body(call, receive, largest), "more_body": False}
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return whole

    return received


async def _body(call: HTTPConnection, receive: Receive, largest: int) -> bytes:
    """The body, read no further than is allowed.

    Raises:
        TooLarge: it is longer, or says that it will be.
        ClientDisconnect: the rest does not come.
    """
    declared = call.headers.get("content-length", "0")
    body = bytearray()
    more = True
    length = int(declared) if declared.isdecimal() and len(declared) < 20 else largest + 1
    while more and length <= largest:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        length = max(length, len(body))
        more = message.get("more_body", False)
    if length > largest:
        raise TooLarge([Reason(code="too_large", message=f"the body is longer than {largest} bytes")])
    return bytes(body)


async def _refuse(call: HTTPConnection, refused: NotAdmitted, receive: Receive, send: Send) -> None:
    scope = call.scope
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": str(refused)[:120]})
        return
    browses = scope.get("method") == "GET" and "text/html" in call.headers.get("accept", "")
    if isinstance(refused, KeyMissing) and browses:
        response = login.sent_to(scope["path"], scope["query_string"])
    else:
        problem = Problem(
            title=refused.status.phrase, status=refused.status.value, detail=str(refused), reasons=refused.reasons
        )
        response = Response(
            problem.model_dump_json(), problem.status, dict(refused.headers), media_type="application/problem+json"
        )
    await response(scope, receive, _hardened(send))


def _hardened(send: Send) -> Send:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return hardened
