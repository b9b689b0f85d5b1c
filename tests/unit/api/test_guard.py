"""The guard before REST and the dashboard: each caller that is refused, and each that is let through."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from orchestrator.api.guard import Guard, Rules
from orchestrator.api.login import COOKIE, SESSION_SECONDS

KEY = "a-key-of-the-tests"
SHOWN = {"authorization": f"Bearer {KEY}"}
NOW = datetime(2026, 1, 15, 21, tzinfo=UTC)
HOST = "desk.example:8100"
LARGEST = 1000
OWN_PAGE = {"origin": f"http://{HOST}"}


async def _echo(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "bytes": len(await request.body())})


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("welcome")
    await socket.close()


def guard(key: str | None = KEY, per_minute: int = 1000, at: datetime = NOW) -> Guard:
    inside = Starlette(
        routes=[
            WebSocketRoute("/live", _socket),
            Route("/{rest:path}", _echo, methods=["GET", "POST", "DELETE"]),
        ]
    )
    rules = Rules(key, frozenset({"desk.example", "localhost", "::1"}), LARGEST, per_minute)
    return Guard(inside, rules, lambda: at)


async def ask(
    path: str = "/experiments",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    content: bytes | AsyncIterator[bytes] | None = None,
    guarded: Guard | None = None,
) -> httpx.Response:
    transport = httpx.ASGITransport(guarded or guard())
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        return await client.request(method, path, headers=headers, content=content)


def code_of(response: httpx.Response) -> str:
    """The code of the reason in a problem's details."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    [reason] = problem["reasons"]
    assert KEY not in response.text
    return str(reason["code"])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "no_key"),
        ({"authorization": f"Basic {KEY}"}, "no_key"),
        ({"authorization": "Bearer a-key-of-the-testz"}, "wrong_key"),
        ({"x-api-key": KEY[:-1]}, "wrong_key"),
        ({"x-api-key": ""}, "wrong_key"),
        ({"cookie": f"{COOKIE}={KEY}"}, "no_key"),
        ({"cookie": f"{COOKIE}=99999999999.{'0' * 64}"}, "no_key"),
    ],
)
async def test_who_shows_no_key_or_a_wrong_one_is_refused(method: str, headers: dict[str, str], code: str) -> None:
    response = await ask(headers=headers, method=method)
    assert (response.status_code, code_of(response)) == (401, code)
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("headers", [SHOWN, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}])
async def test_who_shows_the_key_is_let_through(method: str, headers: dict[str, str]) -> None:
    response = await ask(headers=headers, method=method, content=b"12345")
    assert (response.status_code, response.json()) == (200, {"path": "/experiments", "bytes": 5})
    assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/ready", 200), ("/metrics", 401), ("/health/x", 401)])
async def test_only_health_and_readiness_are_told_to_anybody(path: str, status: int) -> None:
    assert (await ask(path)).status_code == status


async def test_where_there_is_no_key_none_is_asked() -> None:
    open_to_all = guard(key=None)
    assert (await ask(method="DELETE", guarded=open_to_all)).status_code == 200
    assert (await ask("/login", guarded=open_to_all)).json()["path"] == "/login"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8100", 403),
        ("localhost.evil.example", 403),
        ("desk.example@evil.example", 403),
        ("", 403),
        ("[", 403),
        ("127.1", 403),
        ("localhost/health", 403),
        ("localhost?", 403),
        ("somebody@localhost", 403),
        ("localhost:x", 403),
        ("DESK.example", 200),
        ("localhost:1234", 200),
        ("[::1]:8100", 200),
    ],
)
@pytest.mark.parametrize("path", ["/experiments", "/health"])
async def test_the_server_answers_to_its_own_names_only(host: str, status: int, path: str) -> None:
    """A name that somebody else rebinds to this machine's address is not one of them."""
    response = await ask(path, headers=SHOWN | {"host": host})
    assert response.status_code == status
    assert status == 200 or code_of(response) == "foreign_host"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://"}, 403),
        ({"origin": "http://desk.example:3000"}, 403),
        ({"origin": "http://desk.example"}, 403),
        ({"origin": f"http://{HOST}.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": f"https://{HOST}"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
    ],
)
@pytest.mark.parametrize("key", [KEY, None])
async def test_pages_of_other_sites_may_not_ask_but_may_link(
    headers: dict[str, str], status: int, key: str | None
) -> None:
    response = await ask(headers=SHOWN | headers, guarded=guard(key))
    assert response.status_code == status
    assert status == 200 or code_of(response) == "foreign_origin"


async def test_a_page_of_another_site_does_not_post_by_what_looks_like_a_link() -> None:
    form = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert (await ask(headers=SHOWN | form, method="POST")).status_code == 403


async def pieces(count: int, read: list[int]) -> AsyncIterator[bytes]:
    for number in range(count):
        read.append(number)
        yield b"x" * 100


@pytest.mark.parametrize(
    "length", [str(LARGEST + 1), "9" * 30, "9" * 5000, "many", "-1"], ids=["above", "far above", "long", "word", "less"]
)
async def test_a_body_that_says_that_it_is_too_large_is_not_read(length: str) -> None:
    read: list[int] = []
    response = await ask(headers=SHOWN | {"content-length": length}, method="POST", content=pieces(1, read))
    assert (response.status_code, code_of(response), read) == (413, "too_large", [])


async def test_a_body_that_grows_too_large_is_read_no_further() -> None:
    read: list[int] = []
    response = await ask(headers=SHOWN, method="POST", content=pieces(1000, read))
    assert (response.status_code, code_of(response)) == (413, "too_large")
    assert len(read) < 20
    response = await ask(headers=SHOWN, method="POST", content=pieces(10, []))
    assert response.json()["bytes"] == LARGEST


async def test_a_stranger_s_body_is_not_read() -> None:
    read: list[int] = []
    assert (await ask(method="POST", content=pieces(5, read))).status_code == 401
    assert read == []


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/fingerprint/..",
        "/fingerprint/../experiments",
        "/fingerprint/%2e%2e/experiments",
        "/fingerprint/%2E./experiments",
        "/fingerprint/..%2fexperiments",
        "/fingerprint/a%2Fb",
        "/fingerprint/a%5Cb",
        "/fingerprint/a\\b",
        "/fingerprint/a%00",
        "/fingerprint/a%0d%0aSet-Cookie:x",
        "/fingerprint/%252e%252e%252fsecret",
        "/fingerprint/a%252fb",
        "http://evil.example/x",
    ],
)
async def test_a_name_in_a_path_is_a_name_and_never_a_way(path: str) -> None:
    sent = await raw("GET", path)
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["reasons"][0]["code"] == "crooked_path"


@pytest.mark.parametrize("path", ["/", "/experiments/grid_1", "/a//b/", "/top/a%20b", "/x/..a", "/fingerprint/a.b%25"])
async def test_other_paths_are_let_through(path: str) -> None:
    assert (await raw("GET", path))[0]["status"] == 200


async def raw(
    method: str, path: str, headers: Mapping[str, str] = SHOWN, *, hosts: int = 1, then: str = "http.disconnect"
) -> list[dict[str, Any]]:
    """What is sent for a request whose path no client has straightened."""
    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"", "more_body": then == "cut"},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    given = [*[("host", HOST)] * hosts, *headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given],
        "http_version": "1.1",
        "scheme": "http",
        "client": ("192.0.2.1", 1),
        "root_path": "",
    }
    await guard()(scope, receive, send)
    return sent


@pytest.mark.parametrize("hosts", [0, 2])
async def test_a_request_has_one_host(hosts: int) -> None:
    assert (await raw("GET", "/x", hosts=hosts))[0]["status"] == 403


async def test_what_was_cut_off_is_not_taken_for_the_whole() -> None:
    assert await raw("POST", "/search/grid", then="cut") == []


async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    guarded = guard(per_minute=3)
    for _ in range(3):
        assert (await ask(headers=SHOWN, guarded=guarded)).status_code == 200
    refused = await ask(headers=SHOWN, guarded=guarded)
    assert (refused.status_code, code_of(refused)) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) > 0
    assert (await ask("/dashboard/_nicegui/3/static/x.js", headers=SHOWN, guarded=guarded)).status_code == 200
    assert (await ask("/health", guarded=guarded)).status_code == 200


async def test_guesses_at_the_key_count_as_well() -> None:
    guarded = guard(per_minute=3)
    found = [(await ask(headers={"x-api-key": f"guess {number}"}, guarded=guarded)).status_code for number in range(5)]
    assert found == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("path", ["/healthy", "/dashboard/_nicegui/3/static/x.js"])
async def test_guesses_at_the_key_count_where_those_who_have_it_are_not_counted(path: str) -> None:
    guarded = guard(per_minute=2)
    found = [(await ask(path, {"x-api-key": f"guess {number}"}, guarded=guarded)).status_code for number in range(3)]
    assert found == [401, 401, 429]


async def connected(headers: Mapping[str, str], *, answers: bool = True) -> list[dict[str, Any]]:
    """What is sent to who opens a websocket; `answers`: whether the server can refuse it with a response."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": HOST} | dict(headers)
    scope = {
        "type": "websocket",
        "path": "/live",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "extensions": {"websocket.http.response": {}} if answers else {},
    }
    await guard()(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        (SHOWN | {"origin": "https://evil.example"}, 403),
        (SHOWN | {"origin": "null"}, 403),
        (SHOWN | {"host": "evil.example"}, 403),
    ],
)
async def test_a_websocket_of_a_foreign_page_or_of_a_stranger_is_not_accepted(
    headers: dict[str, str], status: int
) -> None:
    refused = await connected(headers)
    assert (refused[0]["type"], refused[0]["status"]) == ("websocket.http.response.start", status)
    [closed] = await connected(headers, answers=False)
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)


@pytest.mark.parametrize("headers", [SHOWN, SHOWN | OWN_PAGE])
async def test_a_websocket_of_an_own_page_is_accepted(headers: dict[str, str]) -> None:
    assert [each["type"] for each in await connected(headers)][:2] == ["websocket.accept", "websocket.send"]


def browser(at: datetime = NOW, base_url: str = f"http://{HOST}") -> httpx.AsyncClient:
    headers = {"accept": "text/html"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard(at=at)), base_url=base_url, headers=headers)


async def logged_in(client: httpx.AsyncClient, key: str = KEY, following: str = "/system?tab=1") -> httpx.Response:
    return await client.post("/login", data={"key": key, "next": following}, headers=OWN_PAGE)


async def test_a_browser_is_led_to_the_page_that_asks_for_the_key_and_back() -> None:
    client = browser()
    sent = await client.get("/system?tab=1")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fsystem%3Ftab%3D1")
    page = await client.get(sent.headers["location"])
    assert (page.status_code, 'value="/system?tab=1"' in page.text) == (200, True)
    back = await logged_in(client)
    assert (back.status_code, back.headers["location"]) == (303, "/system?tab=1")
    assert (await client.get("/system?tab=1")).json()["path"] == "/system"
    assert (await client.delete("/ensemble/x", headers=OWN_PAGE)).status_code == 200
    session = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    assert (await connected(session | OWN_PAGE))[0]["type"] == "websocket.accept"


async def test_a_session_is_a_cookie_that_pages_do_not_read_and_other_sites_do_not_send() -> None:
    cookie = (await logged_in(browser())).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    assert KEY not in cookie
    by_tls = await browser(base_url="https://desk.example").post("/login", data={"key": KEY})
    assert "Secure" in by_tls.headers["set-cookie"]


async def test_a_session_ends() -> None:
    client = browser()
    await logged_in(client)
    session = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    just_before, after = timedelta(seconds=SESSION_SECONDS - 1), timedelta(seconds=SESSION_SECONDS)
    assert (await browser(NOW + just_before).get("/x", headers=session)).status_code == 200
    assert (await browser(NOW + after).get("/x", headers=session)).status_code == 303
    longer = {"cookie": f"{COOKIE}=9{client.cookies[COOKIE]}"}
    assert (await browser().get("/x", headers=longer)).status_code == 303


async def test_a_wrong_key_gives_no_session() -> None:
    client = browser()
    refused = await logged_in(client, "wrong")
    assert (refused.status_code, "set-cookie" in refused.headers, 'role="alert"' in refused.text) == (401, False, True)
    assert (await client.post("/login", content=b"\xff%ff" + b"&" * 50)).status_code == 401


@pytest.mark.parametrize("following", ["https://evil.example", "//evil.example", "/\\evil.example", "x", "/\r\nX: y"])
async def test_the_page_leads_nowhere_else(following: str) -> None:
    assert (await logged_in(browser(), following=following)).headers["location"] == "/"


async def test_what_the_page_repeats_is_not_taken_for_markup() -> None:
    assert "<script>" not in (await browser().get("/login", params={"next": '/"><script>'})).text


async def test_a_client_that_stays_is_told_when_it_leaves() -> None:
    """What comes after the body reaches the application: a stream of events ends with its reader."""
    left = asyncio.Event()

    async def streams(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    messages = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None: ...

    scope = {"type": "http", "method": "GET", "path": "/events", "headers": [(b"host", b"localhost")], "scheme": "http"}
    await Guard(streams, Rules(None, frozenset({"localhost"}), 10, 10))(scope | {"query_string": b""}, receive, send)
    assert left.is_set()
