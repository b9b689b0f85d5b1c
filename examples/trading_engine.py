"""A trading engine in small, with nothing but a Kafka client: it holds what an ensemble's live signals say, and prints
each change as a line of JSON. Times are RFC 3339 in UTC with microseconds, so that their text sorts as they do.

python examples/trading_engine.py 127.0.0.1:9092 ENSEMBLE
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

held: dict[tuple[str, str], int] = {}  # by ticker and timeframe: 1 long, 0 flat, -1 short
newest: dict[tuple[str, str], tuple[str, int]] = {}  # the newest bar and revision, for which a signal's id stands
beats: dict[int, dict[str, Any]] = {}  # the newest heartbeat of each partition


def hold(place: tuple[str, str], target: int, why: str) -> None:
    before, held[place] = held.get(place, 0), target
    if target != before:
        change = {"ticker": place[0], "timeframe": place[1], "from": before, "to": target, "why": why}
        print(json.dumps(change), flush=True)


def is_new(signal: dict[str, Any]) -> bool:  # the first of an id counts; a revision supersedes another id, and is newer
    place, bar = (signal["ticker"], signal["timeframe"]), (signal["event_time"], signal["revision"])
    known, newest[place] = newest.get(place), max(bar, newest.get(place, bar))
    return known is None or bar > known


def clock(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def halts(ensemble: str, ticker: str) -> set[str]:
    last: dict[str, Any] = max(beats.values(), key=lambda beat: str(beat["emitted_at"]), default={"halts": []})
    mine = [halt for halt in last["halts"] if halt["scope"] in ("all", f"ensemble:{ensemble}", f"ticker:{ticker}")]
    return {halt["action"] for halt in mine if halt["expires_at"] is None or halt["expires_at"] > clock()}


def take(told: dict[str, Any], partition: int, ensemble: str) -> None:
    if told["kind"] == "heartbeat":
        beats[partition] = max(told, beats.get(partition, told), key=lambda beat: str(beat["emitted_at"]))
        for place in [place for place in held if "flatten" in halts(ensemble, place[0])]:
            hold(place, 0, "flatten")
    elif told["kind"] == "signal" and told["ensemble"] == ensemble and is_new(told):
        place, target = (told["ticker"], told["timeframe"]), told["target_position"]
        silent = partition not in beats or beats[partition]["emitted_at"] < clock(-15)  # three heartbeats
        allowed = target in (0, held.get(place)) or not (silent or halts(ensemble, place[0]))
        if target is not None and told["valid_until"] >= clock():  # else it has no opinion, or comes too late
            hold(place, target if allowed else 0, told["id"])


def read(consumer: Consumer, starts: list[TopicPartition], to_end: bool) -> Iterator[tuple[Message, dict[str, Any]]]:
    consumer.assign(starts)
    ended: set[int | None] = set()
    while not (to_end and len(ended) == len(starts)):
        message = consumer.poll(1.0)
        if message is not None and (error := message.error()) is not None:
            ended |= {message.partition()} if error.code() == KafkaError._PARTITION_EOF else set()
        elif message is not None and message.value() is not None:
            yield message, json.loads(message.value() or b"")


def main(bootstrap: str, ensemble: str) -> None:
    own = {"group.id": "none", "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": bootstrap, **own})
    topics = (consumer.list_topics(topic, 10).topics[topic] for topic in ("signal-state", "signals"))
    states, signals = ([TopicPartition(t.topic, number, OFFSET_BEGINNING) for number in t.partitions] for t in topics)
    for start in signals:  # before the states are read, and some way back: a state follows its signal
        start.offset = max(0, consumer.get_watermark_offsets(start, 10)[1] - 10_000)
    for message, state in read(consumer, states, to_end=True):
        if (state["ensemble"], state["mode"]) == (ensemble, "live") and is_new(state):
            position = dict(message.headers() or [])["held_position"]  # the newest signal may have no opinion
            hold((state["ticker"], state["timeframe"]), int(position or 0), "restored")
    for message, told in read(consumer, signals, to_end=False):
        take(told, message.partition() or 0, ensemble)


if __name__ == "__main__":
    main(*sys.argv[1:])
