"""Retraining that triggers itself, on real prices whose regime breaks: half way, each instrument becomes another.

An ensemble that was trained before the break answers a feed that goes across it. What its policy makes of that is all
told by events: which rule fired and why, the one search, the challenger in shadow, and whether it takes over.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Lock
from typing import Any

import numpy as np
from confluent_kafka import Producer

from orchestrator.core.bars import Bars
from orchestrator.features import samples
from orchestrator.features.parquet import ParquetFeatures
from schemas.base import JsonObject, Message, Reason, format_instant
from schemas.ensembles import EnsembleDeployed, EnsembleRolledBack
from schemas.envelope import decode
from schemas.experiments import (
    ExperimentAccepted,
    ExperimentCompleted,
    ExperimentFailed,
    ExperimentRejected,
    GatePassed,
    GateRefused,
)
from schemas.retraining import (
    ChallengerCanary,
    ChallengerPromoted,
    ChallengerRetired,
    ChallengerShadowing,
    RetrainingTriggered,
)
from schemas.topics import COMMANDS, ENSEMBLE_EVENTS, EXPERIMENT_EVENTS, RETRAINING_EVENTS, SEARCH_REQUESTS, Topic
from streams import kafka
from streams.demo.copy import Demo, DemoFailed
from streams.display import Display, show_rows
from streams.following import figure
from streams.reader import TopicReader
from streams.replay import replay
from streams.requesting import follow_request
from streams.run_folder import RunFolder
from streams.settings import Settings

SWITCHES = (("AAPL", "IBM"), ("MSFT", "GOOG"))
"""What each instrument is before the break, and after it: a nervous share becomes a calm one, and the reverse."""
BREAK = -1800
"""The session of the break, counted from the end of the sample: early in 2006."""
TIMEFRAME = "1d"
BEFORE, AFTER = 60, 320
"""Sessions of the feed on each side of the break."""
TRAINED_ON = 1400
"""Sessions before the feed; the window rolls on with each retraining."""
BARS_PER_SECOND = 12.0
PATIENCE_SECONDS = 180.0
TOPICS = {topic.name: topic for topic in (RETRAINING_EVENTS, ENSEMBLE_EVENTS, EXPERIMENT_EVENTS)}
GRID: dict[str, list[float]] = {"alpha": [0.001, 0.002, 0.005, 0.01], "l1_ratio": [0.1, 0.5, 0.9]}
POLICY: JsonObject = {
    "drift": {},
    "outliers": {},
    "performance": {},
    "cooldown_hours": 24,
    "promotion": {"sessions": 20, "looks": 3},
}


@dataclass(frozen=True)
class Moment:
    """A line of the timeline."""

    at: datetime
    """When it was heard."""
    bar: datetime | None
    """The newest bar of the feed then."""
    what: str
    why: str


@dataclass
class Story:
    """What became of an ensemble while the feed was played."""

    ensemble: str
    moments: list[Moment] = field(default_factory=list)
    fired: list[RetrainingTriggered] = field(default_factory=list)
    searches: set[str] = field(default_factory=set)
    shadowing: ChallengerShadowing | None = None
    promoted: bool = False
    outcome: str | None = None

    def apply(self, event: Message, now: datetime, bar: datetime | None) -> None:
        """Take in an event that was heard `now`, when `bar` was the newest of the feed."""
        if said := self._told(event):
            self.moments.append(Moment(now, bar, *said))

    def _told(self, event: Message) -> tuple[str, str] | None:
        asked = {each.request_id for each in self.fired}
        match event:
            case RetrainingTriggered(ensemble=self.ensemble):
                self.fired.append(event)
                return f"trigger: {(event.cause or {}).get('kind', '?')}", because(event.cause)
            case ExperimentAccepted() if event.request_id in asked:
                self.searches.add(event.experiment)
                return "search accepted", f"{event.trials} trials on {', '.join(event.tickers)} as {event.experiment}"
            case ExperimentCompleted() if event.experiment in self.searches:
                return "searched", f"{event.finished} trials in {event.seconds:.1f} s, best {figure(event.best)}"
            case GatePassed() | GateRefused() if event.experiment in self.searches:
                verdict = event.verdict
                deflated = f"deflated Sharpe ratio {figure(verdict.deflated_sharpe)} of {verdict.required:.2f}"
                return "gate passed" if verdict.passed else "gate refused", f"{deflated}, {verdict.trials} trials"
            case ExperimentRejected() | ExperimentFailed() if event.request_id in asked:
                self.outcome = "no challenger"
                return "no challenger", sentences(event.reasons)
            case ChallengerShadowing(ensemble=self.ensemble):
                self.shadowing = event
                return "challenger shadows", f"version {event.version} beside version {event.serving_version}"
            case ChallengerCanary(ensemble=self.ensemble):
                return "canary", f"version {event.version} is heard on {', '.join(event.tickers)}"
            case ChallengerPromoted(ensemble=self.ensemble):
                self.promoted = True
                return "promoted", sentences(event.reasons)
            case ChallengerRetired(ensemble=self.ensemble):
                self.outcome = "refused"
                return "challenger retired", sentences(event.reasons)
            case EnsembleDeployed(ensemble=self.ensemble) if self.promoted:
                self.outcome = "promoted"
                return "champion", f"version {event.version} answers live ticks"
            case EnsembleRolledBack(ensemble=self.ensemble):
                return "rolled back", sentences(event.reasons)
        return None


@dataclass(frozen=True)
class Played:
    """What the demo has to show."""

    story: Story
    break_at: datetime
    seconds: float


def because(cause: Mapping[str, Any] | None) -> str:
    """A cause in words."""
    known = cause or {}
    where = " of ".join(str(known[name]) for name in ("feature", "ticker") if known.get(name))
    if known.get("figure") is None:
        return where
    window = f", bars {known['window_start'][:10]} to {known['window_end'][:10]}" if known.get("window_end") else ""
    return f"{where + ': ' if where else ''}{known['figure']:.3f} against {known['threshold']:.3f}{window}"


def sentences(reasons: tuple[Reason, ...]) -> str:
    """Reasons in words."""
    return "; ".join(reason.message for reason in reasons)


async def play(display: Display, environ: Mapping[str, str], *, keep: bool = False) -> int:
    """Play the demo; the exit code.

    Args:
        display: where to show it.
        environ: settings that are not the copy's own.
        keep: leave the service up with what was played, with REST and dashboard, until SIGINT or SIGTERM.
    """
    return await Demo(display, prepare=_features, line=_line, show=_show).play(environ, keep=keep)


def _show(display: Display, played: Played) -> None:
    rows = [
        (
            each.at.astimezone(UTC).strftime("%H:%M:%S"),
            "-" if each.bar is None else each.bar.strftime("%Y-%m-%d"),
            each.what,
            each.why,
        )
        for each in played.story.moments
    ]
    title = f"The regime broke with the bar of {played.break_at:%Y-%m-%d}. What followed from it:"
    show_rows(display.console, ("at", "newest bar", "what", "why"), rows, title=title)
    story = played.story
    last = {
        "triggers": len(story.fired),
        "kind": (story.fired[0].cause or {}).get("kind") if story.fired else None,
        "searches": len(story.searches),
        "challengers": sum(each.what == "challenger shadows" for each in story.moments),
        "outcome": story.outcome,
        "seconds": round(played.seconds, 1),
    }
    print(json.dumps(last), flush=True)  # noqa: T201


def _features(settings: Settings) -> tuple[Bars, ...]:
    """Write the instruments' features, and give back the feed: the sessions around the break."""
    for pair in SWITCHES:
        bars = samples.switched_bars(*pair, np.datetime64(_session(0).replace(tzinfo=None)))
        samples.write_bars(settings.features_folder, _name(pair), *bars)
    source = ParquetFeatures(settings.features_folder, minimum_rows=BEFORE + AFTER)
    return tuple(source.load(_name(pair), TIMEFRAME, start=_session(-BEFORE), end=_session(AFTER)) for pair in SWITCHES)


def _session(place: int) -> datetime:
    """The close of a session, counted from the break."""
    closes, _ = samples.sample_bars(SWITCHES[0][0])
    return _moment(closes[BREAK + place])


def _name(pair: tuple[str, str]) -> str:
    return "-".join(pair)


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _line(display: Display, settings: Settings, folder: RunFolder, feed: tuple[Bars, ...], stop: Event) -> Played:
    """The line itself, as its users see it: through Kafka alone."""
    begun = time.monotonic()
    config = kafka.client_config(settings, folder)
    ensemble = f"demo-{secrets.token_hex(3)}"
    display.say(samples.SURVIVORSHIP_NOTE)
    display.say("The gate is off for the first request and GATE_OVERRIDE is live: what it says is told all the same.")
    _deploy_champion(display, config, ensemble, feed, stop)
    story = Story(ensemble)
    with _Following(config, story) as following:
        _produce(config, COMMANDS, ensemble, _policy(ensemble))
        ticks = sum(len(bars) for bars in feed)
        with display.activity("playing the feed across the break", ticks) as activity:

            def on_progress(sent: int) -> None:
                activity.advance_to(sent, ticks)
                following.bar = _moment(feed[0].event_time[min(len(feed[0]), sent // len(feed)) - 1])
                following.wait_while(following.is_searching, stop)
                # A rate of the replay's own would catch up on what it has waited here.
                time.sleep(1 / BARS_PER_SECOND)

            replay(feed, config, rate=None, on_progress=on_progress)
        with display.activity("the last sessions are settled, and looked at"):
            following.wait_while(following.is_undecided, stop)
    return Played(story, _session(0), time.monotonic() - begun)


def _deploy_champion(
    display: Display, config: dict[str, Any], ensemble: str, feed: tuple[Bars, ...], stop: Event
) -> None:
    asked = {
        "request_id": f"{ensemble}-request",
        "strategy": "grid",
        "algorithm": "elasticnet",
        "tickers": [bars.ticker for bars in feed],
        "timeframe": TIMEFRAME,
        "param_grid": GRID,
        "data_start": format_instant(_session(-BEFORE - TRAINED_ON)),
        "data_end": format_instant(_session(-BEFORE)),
        "requested_by": "demo",
        "deploy": {"auto": True, "ensemble_name": ensemble, "top_n": 3, "gate": False, "mode": "live"},
    }
    since = datetime.now(UTC) - timedelta(seconds=1)
    _produce(config, SEARCH_REQUESTS, str(asked["request_id"]), asked)
    told = follow_request(
        config,
        str(asked["request_id"]),
        deploys=True,
        since=since,
        display=display,
        patience=PATIENCE_SECONDS,
        stop=stop,
    )
    if told.deployed is None:
        raise DemoFailed(f"the search ended without an ensemble: {sentences(told.reasons)}")


def _policy(ensemble: str) -> JsonObject:
    return {
        "command": "set_policy",
        "command_id": f"{ensemble}-policy",
        "issued_at": format_instant(datetime.now(UTC)),
        "actor": "demo",
        "ensemble": ensemble,
        "policy": POLICY,
    }


def _produce(config: Mapping[str, Any], topic: Topic, key: str, message: JsonObject) -> None:
    producer = Producer({**config, "acks": "all"})
    producer.produce(topic.name, key=key, value=json.dumps(message))
    if producer.flush(30):
        raise DemoFailed(f"the broker did not acknowledge what was sent to {topic.name}")


class _Following:
    """Follows the events in a thread of its own, and knows which bar of the feed was the newest when one was told."""

    def __init__(self, config: dict[str, Any], story: Story) -> None:
        self._reader = TopicReader(config, [*TOPICS.values()])
        self._story = story
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._over = Event()
        self._lock = Lock()
        self.bar: datetime | None = None

    def __enter__(self) -> "_Following":
        self._reader.__enter__()
        self._following = self._thread.submit(self._follow)
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._thread.shutdown()
        self._reader.__exit__(None, None, None)
        self._following.result()

    def is_searching(self) -> bool:
        """Whether a challenger is being made: the feed, which is much faster than life, waits for it."""
        with self._lock:
            return bool(self._story.fired) and self._story.shadowing is None and self._story.outcome is None

    def is_undecided(self) -> bool:
        """Whether something was triggered, and it is not said yet what has come of it."""
        with self._lock:
            return bool(self._story.fired) and self._story.outcome is None

    def wait_while(self, busy: Callable[[], bool], stop: Event) -> None:
        """Return when it is so no longer.

        Raises:
            DemoFailed: the demo is to end, or it takes too long.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while busy():
            if stop.wait(0.05):
                raise DemoFailed("it was stopped")
            if time.monotonic() > deadline:
                raise DemoFailed(f"nothing more was heard of the search within {PATIENCE_SECONDS:g} s")

    def _follow(self) -> None:
        while not self._over.is_set():
            for record in self._reader.read(0.2):
                with self._lock:
                    self._story.apply(decode(TOPICS[record.topic].messages, record.value), datetime.now(UTC), self.bar)
