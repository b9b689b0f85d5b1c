"""The example that turns news into search requests: what it asks for is a request, and the same when read again."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from schemas.envelope import decode
from schemas.search import SearchRequest

successor: Any = import_module("examples.news_trigger").successor
TEMPLATE = json.loads((Path(__file__).parents[3] / "examples" / "request.json").read_text())


class News:
    """A message as a consumer gives it."""

    def __init__(self, text: str, offset: int = 7) -> None:
        self._text, self._offset = text, offset

    def value(self) -> bytes:
        return self._text.encode()

    def topic(self) -> str:
        return "news"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


def asked(text: str, offset: int = 7) -> dict[str, Any] | None:
    message: Any = News(text, offset)
    request: dict[str, Any] | None = successor(message, TEMPLATE, "desk-7")
    return request


def test_news_of_an_instrument_ask_for_a_challenger_and_say_why() -> None:
    request = decode(SearchRequest, json.dumps(asked("IBM halves its dividend")).encode())
    assert request.cause is not None
    assert request.cause["tickers"] == ("IBM",)
    assert (request.deploy.ensemble_name, request.deploy.mode, request.deploy.auto) == ("desk-7", "shadow", True)


def test_read_again_it_is_the_same_request_and_other_news_are_another() -> None:
    assert asked("IBM") == asked("IBM")
    one, other = asked("IBM"), asked("IBM", offset=8)
    assert one is not None
    assert other is not None
    assert one["request_id"] != other["request_id"]


def test_news_of_no_instrument_of_ours_ask_for_nothing() -> None:
    assert asked("the weather is fine") is None
