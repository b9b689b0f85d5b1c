"""The main job from end to end on real prices: a search request goes in, trading signals come out.

It runs a copy of its own, on free ports and in a folder of its own, and talks to it as anybody would: it produces a
request, follows the events, plays a feed of ticks, and lets a trading engine in another process consume the signals.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from confluent_kafka import Producer

from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import prepare, terms_of
from orchestrator.features import samples
from orchestrator.features.parquet import ParquetFeatures
from schemas.base import format_instant
from schemas.search import SearchRequest
from schemas.topics import SEARCH_REQUESTS
from streams import kafka
from streams.demo import engine
from streams.demo.copy import Demo, DemoFailed
from streams.demo.outcome import Outcome, outcome
from streams.demo.report import HEADINGS, rows, sentences
from streams.display import Display, show_rows
from streams.following import RequestStory
from streams.replay import replay
from streams.requesting import follow_request
from streams.run_folder import RunFolder
from streams.settings import Settings

TICKERS = ("AAPL", "IBM", "MSFT")
TIMEFRAME = "1d"
FEED_SESSIONS = 252
FEED_BARS_PER_SECOND = 50.0
SILENCE_SECONDS = 120.0
GRID: dict[str, list[float]] = {
    "alpha": [0.001, 0.002, 0.005, 0.01, 0.02, 0.03],
    "l1_ratio": [0.1, 0.5, 0.9],
}


@dataclass(frozen=True)
class Played:
    """What the demo has to show."""

    story: RequestStory
    ticks: int
    engine: dict[str, Any]
    outcomes: tuple[Outcome, ...]


def search_request(name: str, feed_start: datetime) -> dict[str, Any]:
    """The request as any producer would write it: no bar of the feed is in its data."""
    return {
        "request_id": f"{name}-request",
        "strategy": "grid",
        "algorithm": "elasticnet",
        "tickers": list(TICKERS),
        "timeframe": TIMEFRAME,
        "param_grid": GRID,
        "data_end": format_instant(feed_start),
        "requested_by": "demo",
        "deploy": {"auto": True, "ensemble_name": name, "top_n": 5, "gate": False, "mode": "live"},
    }


async def play(display: Display, environ: Mapping[str, str], *, keep: bool = False) -> int:
    """Play the demo; the exit code.

    Args:
        display: where to show it.
        environ: settings that are not the copy's own.
        keep: leave the service up with what was played, with REST and dashboard, until SIGINT or SIGTERM.
    """
    begun = time.monotonic()
    demo = Demo(display, prepare=_features, line=_line, show=lambda display, played: _show(display, played, begun))
    return await demo.play(environ, keep=keep)


def _show(display: Display, played: Played, begun: float) -> None:
    title = "The last year, which no trial saw: Sharpe ratios of following the signals after costs, and of holding."
    show_rows(display.console, HEADINGS, rows(played.outcomes), title=title)
    for sentence in sentences(played.story, played.engine):
        display.say(sentence)
    last = {
        "signals": played.engine["signals"],
        "ticks": played.ticks,
        "trials": played.story.scored,
        "seconds": round(time.monotonic() - begun, 1),
        "deflated_sharpe": played.story.verdict.deflated_sharpe if played.story.verdict is not None else None,
    }
    print(json.dumps(last), flush=True)  # noqa: T201


def _features(settings: Settings) -> tuple[Bars, ...]:
    """Write the sample's features, and give back each ticker's last year."""
    samples.write_samples(settings.features_folder, TICKERS)
    source = ParquetFeatures(settings.features_folder, minimum_rows=FEED_SESSIONS)
    start = source.load(TICKERS[0], TIMEFRAME).event_time[-FEED_SESSIONS].item().replace(tzinfo=UTC)
    return tuple(source.load(ticker, TIMEFRAME, start=start) for ticker in TICKERS)


def _line(display: Display, settings: Settings, folder: RunFolder, feed: tuple[Bars, ...], stop: Event) -> Played:
    """The line itself, as its users see it: through Kafka alone."""
    config = kafka.client_config(settings, folder)
    ensemble = f"demo-{secrets.token_hex(3)}"
    feed_start = min(bars.event_time[0] for bars in feed).astype("datetime64[us]").item().replace(tzinfo=UTC)
    asked = search_request(ensemble, feed_start)
    display.say(samples.SURVIVORSHIP_NOTE)
    display.say("The gate is off for this request and GATE_OVERRIDE is live: the demo deploys whatever the gate says.")
    since = datetime.now(UTC) - timedelta(seconds=1)
    produced = Producer(config | {"acks": "all"})
    produced.produce(SEARCH_REQUESTS.name, key=asked["request_id"], value=json.dumps(asked))
    if produced.flush(30):
        raise DemoFailed("the broker did not acknowledge the search request")
    story = follow_request(
        config, asked["request_id"], deploys=True, since=since, display=display, patience=SILENCE_SECONDS, stop=stop
    )
    if story.deployed is None:
        raise DemoFailed(f"the search ended without an ensemble: {'; '.join(each.message for each in story.reasons)}")
    ticks = sum(len(bars) for bars in feed)
    trading = _trading_engine(config, ensemble, ticks)
    try:
        with display.activity("playing the last year as ticks", ticks) as activity:
            replay(feed, config, rate=FEED_BARS_PER_SECOND, on_progress=lambda sent: activity.advance_to(sent, ticks))
        with display.activity("the trading engine consumes the last signals"):
            answer, _ = trading.communicate(timeout=SILENCE_SECONDS)
    finally:
        trading.kill()
        trading.wait()
    if trading.returncode != 0:
        raise DemoFailed(f"the trading engine ended with code {trading.returncode}")
    book = json.loads(answer)
    request = SearchRequest.model_validate_json(json.dumps(asked))
    return Played(story, ticks, book, _outcomes(settings, feed, request, book))


def _trading_engine(config: Mapping[str, Any], ensemble: str, expected: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "streams.demo.engine", ensemble, str(expected)]
    environment = {**os.environ, engine.KAFKA: json.dumps(config)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _outcomes(
    settings: Settings, feed: tuple[Bars, ...], request: SearchRequest, book: Mapping[str, Any]
) -> tuple[Outcome, ...]:
    calendar = calendar_named(settings.calendar)
    return tuple(
        outcome(
            prepare(bars, terms_of(request, has_open=bars.open is not None), calendar),
            [each for each in book["decisions"] if each["ticker"] == bars.ticker],
            cost=request.costs.of(bars.ticker),
        )
        for bars in feed
    )
