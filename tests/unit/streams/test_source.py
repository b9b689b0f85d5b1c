"""What is polled, from a consumer that is none."""

from typing import Any

import pytest
from confluent_kafka import Consumer

from schemas.topics import FEATURE_TICKS
from streams.source import Record, group_of, soon


class Polled:
    """Gives what it holds, and keeps how it was asked."""

    def __init__(self, *held: Any) -> None:
        self.held = list(held)
        self.asked: list[tuple[str, float]] = []

    def poll(self, timeout: float) -> Any:
        self.asked.append(("poll", timeout))
        return self.held.pop(0) if self.held else None

    def consume(self, size: int, timeout: float) -> list[Any]:
        self.asked.append(("consume", timeout))
        taken, self.held = self.held[:size], self.held[size:]
        return taken


def polled(consumer: Any, size: int) -> list[Any]:
    asked: Consumer = consumer
    return soon(asked, size, 0.1)


def test_what_is_there_is_taken_at_once_up_to_a_limit() -> None:
    consumer = Polled("one", "two", "three")
    assert polled(consumer, 2) == ["one", "two"]
    assert consumer.asked == [("poll", 0.1), ("consume", 0)]
    assert polled(consumer, 2) == ["three"]


def test_nothing_comes_of_nothing() -> None:
    consumer = Polled()
    assert polled(consumer, 2) == []
    assert consumer.asked == [("poll", 0.1)]


class Message:
    """A message of librdkafka's that has nothing but a place, and headers that may not be readable."""

    unreadable: Exception | None = None

    def topic(self) -> str:
        return FEATURE_TICKS.name

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 0

    def key(self) -> None:
        return None

    def value(self) -> None:
        return None

    def headers(self) -> None:
        if self.unreadable is not None:
            raise self.unreadable


def test_a_record_is_what_was_read() -> None:
    message: Any = Message()
    assert Record.of(message) == Record(FEATURE_TICKS.name, 3, 0, None, None, ())


@pytest.mark.parametrize(
    "error",
    [
        SystemError("<method 'headers' of 'cimpl.Message' objects> returned a result with an exception set"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_record_whose_headers_cannot_be_read_has_none(error: Exception) -> None:
    message: Any = Message()
    message.unreadable = error
    assert Record.of(message) == Record(FEATURE_TICKS.name, 3, 0, None, None, ())


def test_each_topic_is_read_in_a_group_of_its_own() -> None:
    assert group_of(FEATURE_TICKS) == "orchestrator.feature-ticks"
