"""Ensembles that serve without a search, live ticks for them, and what was said to each tick.

What was said to a tick is a word or several: `answered`; the codes of an abstention's reasons; the reason of a
TickSkipped; what is wrong with repeats.
"""

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from orchestrator.core.versions import VersionState
from orchestrator.store import ensembles
from orchestrator.store.database import Database
from schemas.base import format_instant
from schemas.envelope import encode
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS, SIGNALS
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.manifest import EnsembleManifest, read_manifest
from streams.reader import TopicReader
from tests.contracts.store.makers import proposal
from tests.faults.stage import Stage, Violated
from tests.unit.serving.drafts import NAMES, candidate, draft

TIMEFRAME = "1s"
TICKERS = ("AAPL", "IBM", "MSFT")
IDLE = "IDLE"
"""An instrument of which no bar is sent but those of the fault at hand."""
BAR_SECONDS = 0.1
SETTLE_SECONDS = 1.0
"""For so long after everything is there, more is listened for."""
ANSWERED = "answered"
Key = tuple[str, str]
"""A tick's instrument and event time."""


def variables(ttl: float, **others: str) -> Callable[[Path], Mapping[str, str]]:
    """Of a service's environment: bars of any time are answered, while they are no older than `ttl` seconds."""
    own = {"CALENDAR": "24/7", "MODEL_MAX_AGE_DAYS": "36500", "SIGNAL_TTL": f"{ttl:g}", **others}
    return lambda folder: own


def serve(stage: Stage, ensemble: str = "bot") -> int:
    """Have another version of an ensemble serve; its number."""
    number = wanted(stage, assembled(stage, ensemble))
    stage.until(lambda: state_of(stage, ensemble, number)[0] == VersionState.DEPLOYED, f"{ensemble} serves")
    return number


def assembled(stage: Stage, ensemble: str, seed: int = 0) -> EnsembleManifest:
    """A version's manifest; it and models of its own, for each seed others, are among the artifacts."""
    artifacts = Artifacts(stage.service.settings.artifacts_folder)
    voters = [candidate(f"t{ticker}", ticker, seed=seed + number) for number, ticker in enumerate((*TICKERS, IDLE))]
    assembled = EnsembleAssembler(artifacts).assemble(draft(*voters, ensemble=ensemble, cost=0.0))
    manifest = read_manifest(artifacts.get(assembled.digest)).model_copy(update={"timeframe": TIMEFRAME})
    artifacts.put(manifest.content())
    return manifest


def wanted(stage: Stage, manifest: EnsembleManifest) -> int:
    """Have a version wanted, by a command of its own; its number."""
    version = proposal(
        None,
        manifest.ensemble,
        manifest=manifest.document(),
        digest=manifest.digest,
        members=len(manifest.members),
        mode="live",
        tickers=tuple(manifest.tickers),
        timeframe=TIMEFRAME,
        command_id=f"want-{manifest.digest[:16]}",
    )

    async def propose() -> int:
        database = Database.open(stage.service.settings.store_url)
        try:
            async with database.transaction() as tx:
                return await ensembles.propose(tx, version, datetime.now(UTC))
        finally:
            await database.close()

    return asyncio.run(propose())


def state_of(stage: Stage, ensemble: str, version: int) -> tuple[str, str]:
    """What has become of a version, and why, as it is written."""
    statement = "SELECT state, reasons FROM ensembles WHERE ensemble = ? AND version = ?"
    ((state, reasons),) = stage.query(statement, ensemble, version)
    return state, reasons


def tick(ticker: str, **fields: Any) -> FeatureTick:
    """A live tick of the bar that closes now, unless `fields` say otherwise."""
    now = datetime.now(UTC)
    features = dict(zip(NAMES, np.random.default_rng(now.microsecond).normal(size=len(NAMES)).tolist(), strict=True))
    base: dict[str, Any] = {
        "ticker": ticker,
        "timeframe": TIMEFRAME,
        "event_time": now,
        "available_at": now,
        "features": features,
    }
    return FeatureTick(**(base | fields))


def key(sent: FeatureTick) -> Key:
    """What a tick is told apart by here."""
    return sent.ticker, format_instant(sent.event_time)


def send(stage: Stage, ticks: Sequence[FeatureTick]) -> None:
    """Produce ticks, each instrument's in this order, and wait for their acknowledgement."""
    stage.service.produce(FEATURE_TICKS, [(each.ticker.encode(), encode(each)) for each in ticks])


@contextmanager
def feeding(stage: Stage) -> Iterator[dict[Key, str]]:
    """A bar of every instrument ten times a second until left, then acknowledged: each is to be answered."""
    sent: dict[Key, str] = {}
    over = threading.Event()
    producer = Producer(stage.service.config | {"acks": "all", "enable.idempotence": True, "log_level": 0})

    def feed() -> None:
        while not over.wait(BAR_SECONDS):
            for each in map(tick, TICKERS):
                producer.produce(FEATURE_TICKS.name, key=each.ticker.encode(), value=encode(each))
                sent[key(each)] = ANSWERED
            producer.poll(0)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()
    if left := producer.flush(stage.patience):
        raise Violated(f"{left} of {len(sent)} ticks were not acknowledged")


@dataclass
class Heard:
    """What was said by one ensemble, and by none of them, in the order of its partition.

    Attributes:
        exactly_once: signals do not come again.
    """

    ensemble: str
    exactly_once: bool = False
    versions: dict[Key, int] = field(default_factory=dict)
    _signals: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _words: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    _newest: dict[str, str] = field(default_factory=dict)

    def take(self, value: Mapping[str, Any]) -> None:
        """Take a record of `signals` in."""
        if value.get("ensemble") not in (self.ensemble, None) or value["kind"] == "heartbeat":
            return
        place = (value["ticker"], value["event_time"])
        if value["kind"] == "tick_skipped":
            self._words[place].add(value["reason"])
            return
        signal = {name: what for name, what in value.items() if name != "emitted_at"}
        if (first := self._signals.setdefault(place, signal)) is not signal:
            if first != signal:
                self._words[place].add("answered otherwise")
            elif self.exactly_once:
                self._words[place].add("answered twice")
            return
        if value["event_time"] < self._newest.setdefault(value["ticker"], value["event_time"]):
            self._words[place].add("out of order")
        self._newest[value["ticker"]] = value["event_time"]
        self.versions[place] = value["version"]
        abstains = value["target_position"] is None
        self._words[place].update([each["code"] for each in value["reasons"]] if abstains else [ANSWERED])

    def words(self, place: Key) -> str:
        """What was said to a tick."""
        return " and ".join(sorted(self._words.get(place, {"nothing"})))


def check(
    stage: Stage,
    expected: Mapping[Key, str],
    ensemble: str = "bot",
    *,
    exactly_once: bool = False,
) -> Heard:
    """Wait until something is said to each tick, and compare; `exactly_once` is as of `Heard`.

    Raises:
        Violated: with examples of what was said otherwise.
    """
    heard = Heard(ensemble, exactly_once)
    deadline = time.monotonic() + stage.patience
    with TopicReader(stage.service.config, [SIGNALS]) as reader:
        while time.monotonic() < deadline:
            for record in reader.read(0.2):
                heard.take(json.loads(record.value or b"{}"))
            if deadline - time.monotonic() > SETTLE_SECONDS and all(
                heard.words(each) != "nothing" for each in expected
            ):
                deadline = time.monotonic() + SETTLE_SECONDS
    otherwise = {place: heard.words(place) for place, words in expected.items() if heard.words(place) != words}
    if otherwise:
        place, words = next(iter(otherwise.items()))
        counts = dict(Counter(otherwise.values()))
        raise Violated(
            f"{ensemble} said otherwise to {len(otherwise)} of {len(expected)} ticks: {counts}; "
            f"such as {words} instead of {expected[place]} to {place}"
        )
    return heard


def ago(**time_ago: float) -> datetime:
    """A moment before now, or after it where it is negative."""
    return datetime.now(UTC) - timedelta(**time_ago)
