"""Ticks that are sent, and the signals that answer them."""

import json
import time
from datetime import UTC, datetime

from schemas.envelope import encode
from schemas.topics import FEATURE_TICKS, SIGNALS_BY_MODE
from streams.reader import TopicReader
from streams.replay import tick_of
from tests.faults.stage import Stage


def signals_of(stage: Stage, ticks: int) -> dict[str, int]:
    """Versions that answer ticks sent now, by tick."""
    return answers_to(stage, send_ticks(stage, ticks))


def send_ticks(stage: Stage, count: int) -> list[str]:
    """Send the last bars as ticks that are available now; their times."""
    bars = stage.service.bars()[0]
    now = datetime.now(UTC)
    ticks = [tick_of(bars, row, now) for row in range(len(bars) - count, len(bars))]
    stage.service.produce(FEATURE_TICKS, [(bars.ticker.encode(), encode(tick)) for tick in ticks])
    return [json.loads(encode(tick))["event_time"] for tick in ticks]


def answers_to(stage: Stage, wanted: list[str]) -> dict[str, int]:
    """By the time of its tick, the version that answered; waits until all are there or patience ends."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + stage.patience
    with TopicReader(stage.service.config, [*SIGNALS_BY_MODE.values()]) as reader:
        while len(found) < len(wanted) and time.monotonic() < deadline:
            for record in reader.read(0.2):
                signal_ = json.loads(record.value or b"{}")
                if signal_.get("event_time") in wanted:
                    found[signal_["event_time"]] = signal_["version"]
    return found
