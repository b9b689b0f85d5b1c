"""Predictions over HTTP, without a server: a request in, a response out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from orchestrator.core.access import key_digest
from serving.predicting import LARGEST_BODY, respond
from serving.succession import Succession
from tests.unit.serving.drafts import NAMES
from tests.unit.serving.test_succession import Wrong, version, wrong

FEATURES = dict.fromkeys(NAMES, 0.1) | {"momentum": 3.0}
LOCAL = {"host": "localhost:8000"}
KEY = "a key of the tests"


async def post(
    succession: Succession | None,
    body: bytes,
    headers: Mapping[str, str] = LOCAL,
    *,
    path: str = "/bot",
    method: str = "POST",
    key: str | None = None,
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the response; the body comes in pieces."""
    pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)] or [b""]

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "/bot",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    response = await respond(Request(scope, receive), succession, key and key_digest(key))
    kind = "application/json" if response.status_code == 200 else "application/problem+json"
    assert response.headers["content-type"] == kind
    return response.status_code, json.loads(bytes(response.body))


def written(**fields: Any) -> bytes:
    return json.dumps({"features": FEATURES} | fields).encode()


@pytest.fixture
def bot(tmp_path: Path) -> Succession:
    return Succession(version(tmp_path, 1, "AAPL", "MSFT"), 60.0)


async def test_a_prediction_has_the_shape_of_the_contract(bot: Succession) -> None:
    status, said = await post(bot, written(ticker="MSFT", timeframe="1d"))
    assert status == 200
    assert said | {"confidence": 0, "score": 0, "p_correct": 0, "edge_bps": 0, "votes": []} == {
        "schema_version": 1,
        "signal": "BUY",
        "confidence": 0,
        "num_models": 1,
        "voting_method": "soft",
        "ensemble": "bot",
        "version": 1,
        "ticker": "MSFT",
        "timeframe": "1d",
        "target_position": 1,
        "score": 0,
        "p_correct": 0,
        "edge_bps": 0,
        "votes": [],
        "mode": "live",
        "gate": "passed",
        "trained_through": "2021-01-01T21:00:00.000000Z",
        "reasons": [],
        "experiment": "grid_elasticnet_20260115_143022_abcdef",
        "calibration_id": said["calibration_id"],
    }
    assert said["confidence"] == said["score"] > 0.7
    assert [vote["vote"] for vote in said["votes"]] == ["BUY"]


async def test_the_only_ticker_need_not_be_named_and_other_features_are_left_out_of_account(tmp_path: Path) -> None:
    alone = Succession(version(tmp_path, 1, "AAPL"), 60.0)
    body = written(features=FEATURES | {"unknown": None, "more": 1.0})
    status, said = await post(alone, body, {"host": "[::1]:8000", "origin": "http://localhost:3000"}, path="/bot/")
    assert (status, said["ticker"]) == (200, "AAPL")


async def test_an_ensemble_that_abstains_says_hold_and_why(tmp_path: Path) -> None:
    lost = Succession(wrong(version(tmp_path, 1, "AAPL"), Wrong(raises=False)), 60.0)
    status, said = await post(lost, written())
    assert (status, said["signal"], said["target_position"], said["confidence"]) == (200, "HOLD", None, 0.0)
    assert [reason["code"] for reason in said["reasons"]] == ["member_lost"]


@pytest.mark.parametrize(
    ("body", "status", "code", "where"),
    [
        (b"", 400, "not_json", ""),
        (b"features=1", 400, "not_json", ""),
        (b"\xff", 400, "not_utf8", ""),
        (b'{"features": {"momentum": NaN}}', 400, "not_json", ""),
        (b"[]", 400, "schema", ""),
        (written(feature={}), 400, "schema", "/feature"),
        (written(features={"momentum": "high"}), 400, "schema", "/features/momentum"),
        (b" " * (LARGEST_BODY + 1), 413, "too_large", ""),
        (written(), 422, "no_ticker", "/ticker"),
        (written(ticker="IBM"), 422, "unknown_ticker", "/ticker"),
        (written(ticker="AAPL", timeframe="5m"), 422, "unknown_timeframe", "/timeframe"),
        (written(ticker="AAPL", features={"momentum": 1.0, "rsi_14": None}), 422, "missing_feature", "/features"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_with_a_body_is_told(
    bot: Succession, body: bytes, status: int, code: str, where: str
) -> None:
    found, problem = await post(bot, body)
    assert (found, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert [(reason["code"], reason["where"]) for reason in problem["reasons"]] == [(code, where)]
    assert problem["title"]
    assert "Traceback" not in problem["detail"]


@pytest.mark.parametrize(
    ("headers", "path", "method", "status"),
    [
        ({}, "/bot", "POST", 403),
        ({"host": "evil.example"}, "/bot", "POST", 403),
        ({"host": "localhost.evil.example:8000"}, "/bot", "POST", 403),
        ({"host": "[:"}, "/bot", "POST", 403),
        ({**LOCAL, "origin": "https://evil.example"}, "/bot", "POST", 403),
        ({**LOCAL, "origin": "null"}, "/bot", "POST", 403),
        (LOCAL, "/bot/else", "POST", 404),
        (LOCAL, "/bot", "GET", 405),
    ],
)
async def test_only_this_machine_asks_and_only_for_predictions(
    bot: Succession, headers: Mapping[str, str], path: str, method: str, status: int
) -> None:
    assert (await post(bot, written(ticker="AAPL"), headers, path=path, method=method))[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (LOCAL, 401),
        ({**LOCAL, "authorization": f"Bearer {KEY}!"}, 401),
        ({**LOCAL, "authorization": f"Basic {KEY}"}, 401),
        ({**LOCAL, "x-api-key": key_digest(KEY)}, 401),
        ({**LOCAL, "x-api-key": KEY, "origin": "https://evil.example"}, 403),
        ({**LOCAL, "authorization": f"Bearer {KEY}"}, 200),
        ({"host": "ray_head:8000", "x-api-key": KEY}, 200),
        ({"host": "desk.example", "x-api-key": KEY, "origin": "https://desk.example"}, 200),
    ],
)
async def test_where_there_is_a_key_whoever_shows_it_asks_by_any_name(
    bot: Succession, headers: Mapping[str, str], status: int
) -> None:
    assert (await post(bot, written(ticker="AAPL"), headers, key=KEY))[0] == status


async def test_where_no_version_answers_or_a_model_raises_nothing_of_the_inside_is_told(tmp_path: Path) -> None:
    assert (await post(None, written()))[0] == 503
    status, problem = await post(Succession(wrong(version(tmp_path, 1, "AAPL"), Wrong(raises=True)), 60.0), written())
    assert (status, problem["reasons"][0]["code"]) == (500, "prediction_failed")
    assert "a model's own error" not in json.dumps(problem)
