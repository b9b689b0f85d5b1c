"""Health, readiness and metrics over HTTP, asked through ASGI."""

import asyncio
import json
from typing import Any

import pytest

from orchestrator.api import app as module
from orchestrator.api.app import Check, create
from orchestrator.store.database import Database
from tests.support.faces import faces


async def fine() -> str | None:
    return None


async def broken() -> str | None:
    return "no answer from Kafka at here"


async def slow() -> str | None:
    await asyncio.sleep(600)
    return None


async def get(path: str, checks: dict[str, Check] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
        "asgi": {"version": "3.0"},
    }
    app: Any = create(faces(Database.open("sqlite+aiosqlite://")), checks or {}, lambda: b"ticks_total 1.0\n")
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


async def test_health_says_that_the_process_answers_whatever_it_depends_on() -> None:
    status, _, body = await get("/health", {"broker": broken})
    assert (status, json.loads(body)) == (200, {"status": "alive"})


async def test_it_is_ready_when_every_dependency_is_there() -> None:
    status, _, body = await get("/ready", {"broker": fine, "store": fine})
    assert (status, json.loads(body)) == (200, {"ready": True, "faults": {"broker": None, "store": None}})


async def test_it_is_not_ready_when_one_is_not_and_says_which_and_why() -> None:
    status, _, body = await get("/ready", {"store": fine, "broker": broken})
    assert status == 503
    assert json.loads(body) == {"ready": False, "faults": {"store": None, "broker": "no answer from Kafka at here"}}


async def test_a_dependency_that_does_not_answer_in_time_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    status, _, body = await get("/ready", {"worker": slow})
    assert status == 503
    assert "no answer within" in json.loads(body)["faults"]["worker"]


async def test_metrics_are_in_prometheus_text_format() -> None:
    status, headers, body = await get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert body == b"ticks_total 1.0\n"
