"""A trading engine in small: a plain Kafka consumer that follows signals and keeps positions.

It runs in a process of its own and knows the service by its topic alone: JSON in, no import of the service's packages.
It acts on a signal once (by id), only while it is valid, and on the feed's clock, since the feed may be a replay.

    ENGINE_KAFKA=CONFIG_JSON python -m streams.demo.engine ENSEMBLE EXPECTED

prints one JSON object: signals consumed, repeats, expired ones, and what it held after each bar.
"""

import json
import os
import sys
import time
from typing import Any

from confluent_kafka import Consumer

KAFKA = "ENGINE_KAFKA"
"""Librdkafka's connection settings: they may hold a password, which all could read among its arguments."""
TOPIC = "signals"
PATIENCE_SECONDS = 30.0
LINGER_SECONDS = 1.0
"""Once everything expected is there, it listens this much longer: a repeat would come now."""


class Book:
    """Positions by ticker, and every decision that led to them."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.repeats = 0
        self.expired = 0
        self.clock: dict[str, str] = {}
        self.decisions: list[dict[str, Any]] = []

    def take(self, signal: dict[str, Any]) -> None:
        """Act on one signal. Times are RFC 3339 in UTC with microseconds, so their text sorts as they do."""
        if signal["id"] in self.seen:
            self.repeats += 1
            return
        self.seen.add(signal["id"])
        ticker = signal["ticker"]
        self.clock[ticker] = max(self.clock.get(ticker, ""), signal["event_time"])
        if signal["valid_until"] < self.clock[ticker]:
            self.expired += 1
            return
        self.decisions.append({name: signal[name] for name in ("ticker", "event_time", "signal", "target_position")})


def follow(config: dict[str, Any], ensemble: str, expected: int) -> Book:
    """Consume until the expected number of signals is there, or none has come for a while."""
    consumer = Consumer(
        config | {"group.id": f"engine-{time.time_ns()}", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe([TOPIC])
    book = Book()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                if message.error() is not None:
                    continue
                record = json.loads(message.value() or b"{}")
                if record.get("kind") == "signal" and record["ensemble"] == ensemble:
                    book.take(record)
                    complete = len(book.seen) >= expected
                    deadline = time.monotonic() + (LINGER_SECONDS if complete else PATIENCE_SECONDS)
    finally:
        consumer.close()
    return book


def main(arguments: list[str]) -> None:
    """Follow, then print what was held."""
    book = follow(json.loads(os.environ[KAFKA]), arguments[0], int(arguments[1]))
    print(  # noqa: T201
        json.dumps(
            {
                "signals": len(book.seen),
                "repeats": book.repeats,
                "expired": book.expired,
                "decisions": book.decisions,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
