"""How long a tick takes to become its output: one process produces at an even rate, another listens.

    python -m benchmarks.paced produce|listen SETTINGS

SETTINGS is JSON. Both write a line for each tick on standard output: its instrument, its bar and the machine's
monotonic time in seconds, as it was produced or heard. In one interpreter they would wait for each other, and that be
measured.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.feed import TICKERS, TRACEPARENT, Feed
from schemas.base import format_instant, parse_instant
from schemas.topics import FEATURE_TICKS

RATE = 1_000
"""Ticks a second: the bars of all instruments close at once, so many times a second as it takes."""
PATIENCE = 60.0
"""Seconds from the last tick to the last output."""
MARK = b'"event_time":"'

Seen = tuple[str, str, float]
"""An instrument, its bar, and when."""


class Unanswered(Exception):
    """Some ticks have no output.

    Attributes:
        answered: how many have.
        ticks: how many were produced.
    """

    def __init__(self, answered: int, ticks: int) -> None:
        self.answered = answered
        self.ticks = ticks
        super().__init__(f"{answered} of {ticks} ticks were answered")


def signal_id(message: Message) -> bytes | str | None:
    """The id of a signal; None for whatever else there is, such as heartbeats."""
    headers = dict(message.headers() or ())
    return headers.get("ce_id") if headers.get("ce_type") == b"signal" else None


def paced(config: Mapping[str, Any], feed: Feed, topic: str, ends: Mapping[int, int], seconds: int) -> dict[str, float]:
    """p50, p95 and p99 of the milliseconds from a tick's producing to its output's being read.

    Args:
        config: librdkafka's.
        feed: whose next bars are produced.
        topic: where the outputs come.
        ends: its ends by partition.
        seconds: for how long.

    Raises:
        Unanswered: some ticks have no output.
    """
    bars = RATE * seconds // len(TICKERS)
    about = {"config": config, "topic": topic, "ends": [*ends.items()], "seconds": seconds + PATIENCE}
    listening = _started("listen", about | {"ticks": bars * len(TICKERS), "since": feed.next_close})
    assert listening.stdout is not None
    listening.stdout.readline()
    producing = _started("produce", about | {"start": format_instant(feed.start), "bar": feed.bar, "bars": bars})
    sent, _ = producing.communicate()
    heard, _ = listening.communicate()
    feed.bar += bars
    if producing.returncode or listening.returncode:
        raise RuntimeError(f"producing ended with {producing.returncode}, listening with {listening.returncode}")
    produced, answered = _times(sent), _times(heard)
    waited = [1000 * (answered[each] - at) for each, at in produced.items() if each in answered]
    if len(waited) < bars * len(TICKERS):
        raise Unanswered(len(waited), bars * len(TICKERS))
    return {f"p{each}": round(float(np.percentile(waited, each)), 2) for each in (50, 95, 99)}


def _started(part: str, settings: Mapping[str, Any]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.paced", part, json.dumps(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _times(lines: str) -> dict[tuple[str, str], float]:
    rows = (line.split() for line in lines.splitlines())
    return {(ticker, bar): float(at) for ticker, bar, at in rows}


def produce(settings: Mapping[str, Any]) -> Iterator[Seen]:
    """Produce bars at an even rate."""
    producer = Producer(settings["config"] | {"acks": "all", "partitioner": "murmur2_random"})
    feed = Feed.of(parse_instant(settings["start"]), settings["bar"])
    begun, apart = time.monotonic(), len(TICKERS) / RATE
    for number, together in enumerate(feed.bars(settings["bars"])):
        if (wait := begun + number * apart - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(wait)
        for key, value in together:
            now = time.monotonic()
            producer.produce(FEATURE_TICKS.name, value, key, headers=TRACEPARENT)
            yield key, _bar(value), now
    if producer.flush(30):
        raise RuntimeError("the broker did not take every tick")


def listen(settings: Mapping[str, Any]) -> Iterator[Seen]:
    """Hear outputs until there is one to each tick, or too much time has passed; none of older ticks counts."""
    own = {"group.id": "bench-listen", "enable.auto.commit": False, "isolation.level": "read_committed"}
    with closing(Consumer(settings["config"] | own | {"fetch.wait.max.ms": 50})) as consumer:
        consumer.assign([TopicPartition(settings["topic"], number, offset) for number, offset in settings["ends"]])
        # Once it has asked for the first records it misses none.
        consumer.poll(0.5)
        print("listening", flush=True)
        deadline, answered = time.monotonic() + settings["seconds"], set[tuple[str, str]]()
        while len(answered) < settings["ticks"] and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            now = time.monotonic()
            if message is not None and signal_id(message):
                key, bar = (message.key() or b"").decode(), _bar(message.value() or b"")
                if bar >= settings["since"] and (key, bar) not in answered:
                    answered.add((key, bar))
                    yield key, bar, now


def _bar(value: bytes) -> str:
    place = value.find(MARK) + len(MARK)
    return value[place : place + 27].decode()


def main(part: str, settings: Mapping[str, Any]) -> None:
    """Produce or listen; what was seen is written at the end, so that writing takes no time of what is measured."""
    seen = [*{"produce": produce, "listen": listen}[part](settings)]
    sys.stdout.writelines(f"{key} {bar} {at:.6f}\n" for key, bar, at in seen)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
