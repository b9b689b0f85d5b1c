"""What the command line shows of signals topics, read from a list instead of a broker."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any, Self

import numpy as np
import pytest
from rich.console import Console

from schemas.base import Message
from schemas.envelope import encode
from schemas.signals import Heartbeat, Signal, TickSkipped
from schemas.topics import FEATURE_TICKS, SIGNAL_STATE, SIGNALS
from streams import kafka, showing
from streams.decision import Moment
from streams.kafka import Position
from streams.showing import TOPIC_HEADINGS, follow_signals, topic_rows
from streams.source import Record
from tests.unit.streams.fakes import NOW, bar, batch_answer, decided, tick


def signal(score: float = 0.9, ticker: str = "AAPL") -> Signal:
    moment = Moment(now=NOW, valid_until=NOW, must_be_flat=False)
    said, _ = decided(tick(1, ticker=ticker), batch_answer(np.array([score]), [ticker]), 0, None, moment)
    return said


SKIPPED = TickSkipped(
    ticker="AAPL", timeframe="1h", event_time=bar(0), revision=0, reason="late", emitted_at=NOW, mode="live"
)
HEARTBEAT = Heartbeat(instance="one", partition=0, emitted_at=NOW, state="live", lag=0)


class Interrupted(Exception):
    """Ctrl-C, in a test."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Shows messages as `follow_signals` does, until there are no more."""

    def show(*messages: Message | bytes, **options: Any) -> list[str]:
        records = [
            Record(SIGNALS.name, 0, offset, b"", each if isinstance(each, bytes) else encode(each))
            for offset, each in enumerate(messages)
        ]

        class Reading:
            def __init__(self, *arguments: Any, **named: Any) -> None:
                self.left = [records]

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *arguments: object) -> None:
                return

            def read(self, timeout: float) -> Sequence[Record]:
                if not self.left:
                    raise Interrupted
                return self.left.pop()

        monkeypatch.setattr(showing, "TopicReader", Reading)
        written = StringIO()
        asked: dict[str, Any] = {"tickers": frozenset(), "as_json": False, "skipped": False, "limit": None} | options
        try:
            follow_signals({}, SIGNALS, None, Console(file=written, width=60), **asked)
        except Interrupted:
            written.write("(interrupted)\n")
        return written.getvalue().splitlines()

    return show


def test_a_signal_is_a_line(shown: Any) -> None:
    line, _ = shown(signal())
    assert line == "2026-01-14 01:00:00  AAPL     BUY   hold +1     score  0.90  confidence 0.90  alpha v1"


def test_an_abstention_is_shown_with_its_reason(shown: Any) -> None:
    line, _ = shown(signal(float("nan")))
    assert "no opinion" in line
    assert line.endswith("(missing_feature)")


def test_only_the_tickers_asked_for_are_shown(shown: Any) -> None:
    lines = shown(signal(), signal(ticker="MSFT"), signal(ticker="IBM"), tickers=frozenset({"MSFT", "IBM"}))
    assert ["MSFT" in line or "IBM" in line for line in lines] == [True, True, False]


def test_skipped_ticks_are_shown_where_they_are_asked_for_and_heartbeats_never(shown: Any) -> None:
    assert len(shown(SKIPPED, HEARTBEAT, signal())) == 2
    first, *_ = shown(SKIPPED, HEARTBEAT, skipped=True)
    assert first == "2026-01-14 00:00:00  AAPL     skipped: late"


def test_as_json_each_line_is_the_message(shown: Any) -> None:
    said = signal()
    (line,) = shown(said, as_json=True, limit=1)
    assert json.loads(line) == said.model_dump(mode="json")


def test_it_ends_after_as_many_as_were_asked_for(shown: Any) -> None:
    assert len(shown(signal(), signal(), SKIPPED, signal(), limit=2)) == 2


def test_what_is_no_signal_is_named_and_the_next_is_shown(shown: Any) -> None:
    fault, line, _ = shown(b"garbage", signal())
    assert fault.startswith("signals 0 0: no signal")
    assert "AAPL" in line


def test_topics_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Position(FEATURE_TICKS.name, 0, begin=0, end=1000, handled=400),
        Position(FEATURE_TICKS.name, 1, begin=0, end=10, handled=None),
    ]
    monkeypatch.setattr(kafka, "positions", lambda config, groups: found)
    ticks, states = topic_rows({}, [FEATURE_TICKS, SIGNAL_STATE])
    assert len(ticks) == len(TOPIC_HEADINGS)
    assert ticks[:4] == ("feature-ticks", "2", "1,010", "610")
    assert states[:4] == ("signal-state", "0", "not there", "-")
    assert "newest of a key" in states
