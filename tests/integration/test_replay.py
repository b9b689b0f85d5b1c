"""Bars played as ticks on a real broker."""

import secrets
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from orchestrator.core.bars import Bars
from schemas.envelope import decode
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS
from streams import ports
from streams.reader import TopicReader
from streams.replay import NotPlayed, replay

pytestmark = pytest.mark.slow

ROWS = 200


def bars(ticker: str) -> Bars:
    return Bars(
        ticker=ticker,
        timeframe="1h",
        event_time=np.datetime64("2020-01-02T21:00", "us") + np.arange(ROWS) * np.timedelta64(1, "h"),
        close=np.full(ROWS, 100.0),
        feature_names=("row",),
        features=np.arange(ROWS, dtype=np.float64)[:, None],
        data_hash="0" * 64,
    )


@pytest.mark.parametrize("rate", [None, 10_000.0])
def test_every_bar_is_played_in_order_however_small_the_client_s_queue(
    kafka_config: dict[str, Any], rate: float | None
) -> None:
    # Other tests play on the same topic.
    tickers = [f"{secrets.token_hex(4)}{number}" for number in range(2)]
    progress: list[int] = []
    config = kafka_config | {"queue.buffering.max.messages": 10}
    since = datetime.now(UTC)
    sent = replay([bars(each) for each in tickers], config, rate=rate, mode="replay", on_progress=progress.append)
    assert sent == progress[-1] == 2 * ROWS
    with TopicReader(kafka_config, [FEATURE_TICKS], since=since) as reader:
        ticks = [decode(FeatureTick, record.value) for record in reader.read_to_end()]
    for ticker in tickers:
        played = [each.features["row"] for each in ticks if each.ticker == ticker]
        assert played == list(range(ROWS))


def test_a_broker_that_is_not_there_is_said() -> None:
    nowhere = {"bootstrap.servers": f"127.0.0.1:{ports.free()}", "log_level": 0, "message.timeout.ms": 200}
    with pytest.raises(NotPlayed) as failed:
        replay([bars("AAPL")], nowhere, rate=None)
    assert (failed.value.sent, failed.value.missing) == (ROWS, ROWS)
