"""What the command line shows of topics: signals as they come, and what lies where."""

import json
from collections.abc import Iterator, Set
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.envelope import Undecodable, decode
from schemas.signals import Heartbeat, Signal, TickSkipped
from schemas.topics import Topic
from streams.following import figure
from streams.reader import TopicReader

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
    for message in _messages(config, topic, since):
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


def _messages(config: dict[str, Any], topic: Topic, since: datetime | None) -> Iterator[Signal | TickSkipped]:
    with TopicReader(config, [topic], since=since) as reader:
        while True:
            for record in reader.read(0.2):
                try:
                    message = decode(topic.messages, record.value)
                except Undecodable:
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


def topic_table(rows: "list[tuple[Topic, int, int, int | None]]") -> Table:
    """The contract's topics.

    Args:
        rows: topic, partitions, records kept, lag (None: the service does not read it).
    """
    table = Table("topic", "key", "partitions", "records", "lag", "kept", "de-duplicated by")
    for topic, partitions, records, lag in rows:
        kept = "newest of a key" if topic.cleanup == "compact" else f"{topic.retention_days} days"
        behind = "" if lag is None else f"{lag:,}"
        table.add_row(topic.name, topic.key, str(partitions), f"{records:,}", behind, kept, topic.deduplicated_by)
    return table
