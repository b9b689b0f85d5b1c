"""What the command line shows of topics: signals as they come, and what lies where."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from schemas.envelope import Undecodable, decode
from schemas.signals import Heartbeat, Signal, TickSkipped
from schemas.topics import Topic
from streams import kafka
from streams.following import figure
from streams.reader import TopicReader
from streams.vitals import CONSUMED

TOPIC_HEADINGS = ("topic", "partitions", "produced", "lag", "key", "kept", "de-duplicated by")
BRIEF = 4
"""So many of them tell of the topics as they are; the others are the contract's."""
STYLES = {"BUY": "green", "SELL": "red", "HOLD": "dim"}


def follow_signals(
    config: dict[str, Any],
    topic: Topic,
    since: datetime | None,
    console: Console,
    *,
    tickers: Set[str],
    as_json: bool,
    skipped: bool,
    limit: int | None,
) -> None:
    """Print signals as they are published, until interrupted or `limit` of them are there.

    Args:
        config: librdkafka's connection settings.
        topic: one of the signals topics.
        since: from this time on; None: from the beginning.
        console: where to print.
        tickers: only these; empty: all.
        as_json: one JSON object a line, as it was published.
        skipped: also ticks that gave no signal.
        limit: how many; None: no end.
    """
    shown = 0
    for message in _messages(config, topic, since, console):
        if tickers and message.ticker not in tickers:
            continue
        if isinstance(message, TickSkipped) and not skipped:
            continue
        if as_json:
            print(json.dumps(message.model_dump(mode="json")), flush=True, file=console.file)
        else:
            console.print(_line(message), highlight=False, soft_wrap=True)
        shown += 1
        if shown == limit:
            return


def _messages(
    config: dict[str, Any], topic: Topic, since: datetime | None, console: Console
) -> Iterator[Signal | TickSkipped]:
    with TopicReader(config, [topic], since=since) as reader:
        while True:
            for record in reader.read(0.2):
                try:
                    message = decode(topic.messages, record.value)
                except Undecodable as error:
                    place = f"{record.topic} {record.partition} {record.offset}"
                    console.print(f"{place}: no signal ({error})", style="red", markup=False, soft_wrap=True)
                    continue
                if not isinstance(message, Heartbeat):
                    yield message


def _line(message: Signal | TickSkipped) -> Text:
    when = f"{message.event_time:%Y-%m-%d %H:%M:%S}"
    if isinstance(message, TickSkipped):
        return Text(f"{when}  {message.ticker:<8} skipped: {message.reason}", style="yellow")
    target = "no opinion" if message.target_position is None else f"hold {message.target_position:+d}"
    line = Text(f"{when}  {message.ticker:<8} ")
    line.append(f"{message.signal:<4}", style=STYLES[message.signal])
    line.append(f"  {target:<10}  score {figure(message.score):>5}  confidence {message.confidence:.2f}")
    line.append(f"  {message.ensemble} v{message.version}", style="dim")
    for reason in message.reasons:
        line.append(f"  ({reason.code})", style="yellow")
    return line


def topic_rows(config: Mapping[str, Any], topics: Sequence[Topic]) -> list[tuple[str, ...]]:
    """The contract's topics as they are, and how many records were ever produced to each; see `TOPIC_HEADINGS`.

    Raises:
        KafkaException: the broker does not answer.
    """
    positions = kafka.positions(config, {topic.name: CONSUMED.get(topic.name) for topic in topics})
    rows: list[tuple[str, ...]] = []
    for topic in topics:
        found = [each for each in positions if each.topic == topic.name]
        kept = "newest of a key" if topic.cleanup == "compact" else f"{topic.retention_days} days"
        lag = f"{sum(each.lag for each in found):,}" if topic.name in CONSUMED and found else "-"
        produced = f"{sum(each.end for each in found):,}" if found else "not there"
        rows.append((topic.name, str(len(found)), produced, lag, topic.key, kept, topic.deduplicated_by))
    return rows
