"""Do versions swap without a gap, also when some of them are broken?

    python -m benchmarks.swaps [--swaps N]

A running service, its own Kafka, Ray and database, answers 500 live ticks a second of twenty instruments. Meanwhile its
ensemble gets one version after the other, each fourth of them broken: its file is gone, its manifest damaged, its
members do not predict what they did; or it loads, and raises or loses its members once it serves. Every tick must have
one signal, and every bar signals of one version only. HTTP is asked besides. The last line is one JSON object; the exit
status is 1 where anything was lost, doubled, mixed or refused.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from confluent_kafka import Producer

from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState
from orchestrator.store import ensembles
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from schemas.base import format_instant, parse_instant
from schemas.envelope import encode
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS, SIGNALS
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.manifest import EnsembleManifest, read_manifest
from streams.reader import TopicReader
from streams.serve_port import served_at
from tests.contracts.store.makers import NOW, founded, proposal
from tests.service import Service, running
from tests.unit.serving.drafts import NAMES, candidate, draft

ENSEMBLE, TIMEFRAME = "bot", "1s"
TICKERS = tuple(f"T{number:02}" for number in range(20))
RATE = 500
"""Ticks a second."""
PATIENCE = 120.0
REFUSED, TAKEN_BACK = ("gone", "damaged", "probe"), ("raising", "losing")
BROKEN = tuple(kind for pair in zip(REFUSED, TAKEN_BACK, strict=False) for kind in pair) + REFUSED[len(TAKEN_BACK) :]
"""The ways to be broken, in turn."""
PLUGIN = """
import numpy as np

from orchestrator.algorithms.elasticnet import ElasticNetPredictor, ElasticNetTrainer


class Turning:
    '''Predicts well when it is tried, and goes wrong from then on.'''

    def __init__(self, predictor, raises):
        self.predictor, self.raises, self.calls = predictor, raises, 0
        self.feature_names = predictor.feature_names

    def predict(self, features):
        self.calls += 1
        if self.calls == 1:
            return self.predictor.predict(features)
        if self.raises:
            raise RuntimeError("the library is out of sorts")
        return np.full(len(features), np.nan)


class Raising(ElasticNetTrainer):
    name = "raising"

    def load(self, dumped):
        return Turning(super().load(dumped), self.name == "raising")


class Losing(Raising):
    name = "losing"
"""


@dataclass
class Report:
    """What came of it; everything below `bars` must be none."""

    swaps: int = 0
    refused: int = 0
    """Versions that were broken when they were loaded."""
    rolled_back: int = 0
    """Versions that went wrong when they served."""
    ticks: int = 0
    signals: int = 0
    bars: int = 0
    versions: int = 0
    """That have signals."""
    predictions: int = 0
    """Over HTTP."""
    p50_ms: float = 0.0
    """From `available_at` to `emitted_at`."""
    p99_ms: float = 0.0
    slowest_ms: float = 0.0
    unsettled: int = 0
    """Versions of which became other than it should."""
    unanswered: int = 0
    doubled: int = 0
    skipped: int = 0
    abstained: int = 0
    mixed_bars: int = 0
    by_broken_versions: int = 0
    failed_predictions: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """What must not be."""
        names = [*asdict(self)]
        return {name: number for name, number in asdict(self).items() if names.index(name) >= names.index("unsettled")}


@dataclass
class Feed:
    """Ticks at their rate, all instruments at one event time, until it is left; and one who asks over HTTP."""

    service: Service
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    """`available_at` by ticker and event time."""
    predictions: int = 0
    failed_predictions: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def on(self) -> Iterator["Feed"]:
        threads = [threading.Thread(target=each) for each in (self._feed, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _feed(self) -> None:
        producer = Producer(self.service.config | {"acks": "all", "enable.idempotence": True, "linger.ms": 1})
        rng = np.random.default_rng(0)
        began, bars = time.monotonic(), 0
        while not self._over.wait(max(0.0, began + bars * len(TICKERS) / RATE - time.monotonic())):
            now = datetime.now(UTC)
            for ticker, row in zip(TICKERS, rng.normal(size=(len(TICKERS), len(NAMES))).tolist(), strict=True):
                tick = FeatureTick(
                    ticker=ticker,
                    timeframe=TIMEFRAME,
                    event_time=now,
                    available_at=now,
                    features=dict(zip(NAMES, row, strict=True)),
                )
                producer.produce(FEATURE_TICKS.name, key=ticker.encode(), value=encode(tick))
                self.sent[ticker, format_instant(now)] = format_instant(now)
            producer.poll(0)
            bars += 1
        assert producer.flush(60) == 0

    def _ask(self) -> None:
        body = json.dumps({"ticker": TICKERS[0], "features": dict.fromkeys(NAMES, 0.1)}).encode()
        while not self._over.wait(0.1):
            try:
                url = f"{served_at(self.service.folder)}/{ENSEMBLE}"
                with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
                    json.load(answer)
                self.predictions += 1
            except OSError:
                self.failed_predictions += 1


def install(plugin: Path) -> dict[str, str]:
    """Lay out the algorithms that go wrong as an installer does; the environment in which they are found."""
    distribution = plugin / "turning-1.0.dist-info"
    distribution.mkdir(parents=True)
    (plugin / "turning.py").write_text(PLUGIN)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: turning\nVersion: 1.0\n")
    offer = "[ray_orchestrator.algorithms]\nraising = turning:Raising\nlosing = turning:Losing\n"
    (distribution / "entry_points.txt").write_text(offer)
    return {"PYTHONPATH": str(plugin)}


def first(artifacts: Artifacts) -> EnsembleManifest:
    """The manifest that all versions are made of."""
    made = draft(*(candidate(f"t{ticker}", ticker, seed=number) for number, ticker in enumerate(TICKERS)), cost=0.0)
    return read_manifest(artifacts.get(EnsembleAssembler(artifacts).assemble(made).digest))


def written(artifacts: Artifacts, base: EnsembleManifest, number: int, kind: str) -> EnsembleManifest:
    """A version's manifest, in its place, broken in this way or `good`."""
    changes: dict[str, object] = {"timeframe": TIMEFRAME, "threshold": 0.5 + number / 1000}
    if kind in TAKEN_BACK:
        changes["algorithm"] = kind
    if kind == "probe":
        member = base.members[0]
        wrong = member.probe.model_copy(update={"prediction": tuple(each + 1.0 for each in member.probe.prediction)})
        changes["members"] = (member.model_copy(update={"probe": wrong}), *base.members[1:])
    manifest = base.model_copy(update=changes)
    digest = artifacts.put(manifest.content())
    if kind == "gone":
        (artifacts.directory / digest).unlink()
    if kind == "damaged":
        (artifacts.directory / digest).write_bytes(b"half a manifest")
    return manifest


async def settled(db: Database, experiment: str, manifest: EnsembleManifest, kind: str) -> tuple[Version, float]:
    """Have a version wanted, and wait for what becomes of it, and after how many seconds."""
    wanted = proposal(
        experiment,
        ENSEMBLE,
        manifest=manifest.document(),
        digest=manifest.digest,
        members=1,
        mode="live",
        tickers=TICKERS,
        timeframe=TIMEFRAME,
        command_id=f"swap-{kind}",
    )
    async with db.transaction() as tx:
        number = await ensembles.propose(tx, wanted, datetime.now(UTC))
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        async with db.snapshot() as tx:
            found = next(each for each in await ensembles.versions(tx, ENSEMBLE) if each.version == number)
        if found.state not in (VersionState.WANTED, *([VersionState.DEPLOYED] if kind in TAKEN_BACK else [])):
            break
        await asyncio.sleep(0.05)
    return found, time.monotonic() - began


async def swap(service: Service, kinds: Sequence[str], report: Report) -> tuple[Feed, frozenset[int]]:
    """Have versions of these kinds take over while ticks come; the feed, and the numbers of those that are broken."""
    artifacts = Artifacts(service.settings.artifacts_folder)
    base = first(artifacts)
    db, feed, broken = Database.open(service.settings.store_url), Feed(service), set()
    try:
        experiment = await founded(db, 1, State.SELECTED, now=NOW, name="swapped")
        await settled(db, experiment, written(artifacts, base, 0, "good"), "good")
        with feed.on():
            for number, kind in enumerate(kinds, 1):
                await asyncio.sleep(1.0)
                found, seconds = await settled(db, experiment, written(artifacts, base, number, kind), kind)
                state, why = found.state.value, "".join(f"  {reason.code}" for reason in found.reasons)
                print(f"{found.version:>7}  {kind:<8}  {state:<12}  {seconds:5.1f} s{why}", flush=True)
                expected = "failed" if kind in REFUSED else "rolled_back" if kind in TAKEN_BACK else "deployed"
                report.swaps += 1
                report.refused += state == "failed"
                report.rolled_back += state == "rolled_back"
                report.unsettled += state != expected
                if kind != "good":
                    broken.add(found.version)
            await asyncio.sleep(2.0)
    finally:
        await db.close()
    return feed, frozenset(broken)


def heard(service: Service, sent: Mapping[tuple[str, str], str], broken: frozenset[int], report: Report) -> None:
    """Read what was said to the ticks, and write down what is wrong with it."""
    answers: Counter[tuple[str, str]] = Counter()
    versions: dict[str, set[int]] = defaultdict(set)
    took: list[float] = []
    deadline = time.monotonic() + PATIENCE
    with TopicReader(service.config, [SIGNALS]) as reader:
        while len(answers) < len(sent) and time.monotonic() < deadline:
            for record in reader.read(0.5):
                said = json.loads(record.value or b"{}")
                report.skipped += said.get("kind") == "tick_skipped"
                if said.get("kind") != "signal":
                    continue
                answers[said["ticker"], said["event_time"]] += 1
                versions[said["event_time"]].add(said["version"])
                report.by_broken_versions += said["version"] in broken
                report.abstained += said["target_position"] is None
                available = parse_instant(sent[said["ticker"], said["event_time"]])
                took.append((parse_instant(said["emitted_at"]) - available).total_seconds() * 1000)
    report.ticks, report.signals, report.bars = len(sent), answers.total(), len(versions)
    report.versions = len(set().union(*versions.values()))
    report.unanswered = sum(not answers[tick] for tick in sent)
    report.doubled = sum(number > 1 for number in answers.values())
    report.mixed_bars = sum(len(of_bar) > 1 for of_bar in versions.values())
    report.p50_ms, report.p99_ms, report.slowest_ms = np.round(np.quantile(took, [0.5, 0.99, 1.0]), 1).tolist()


def measured(folder: Path, kinds: Sequence[str]) -> Report:
    """Swaps of these kinds on a service of its own."""
    report = Report()
    with running(folder / "data", **install(folder / "plugin"), CALENDAR="24/7", MODEL_MAX_AGE_DAYS="36500") as service:
        feed, broken = asyncio.run(swap(service, kinds, report))
        heard(service, feed.sent, broken, report)
    report.predictions, report.failed_predictions = feed.predictions, feed.failed_predictions
    return report


def kinds_of(swaps: int) -> list[str]:
    """Each fourth version is broken, each time in another way."""
    return [BROKEN[number // 4 % len(BROKEN)] if number % 4 == 2 else "good" for number in range(swaps)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20)
    swaps = parser.parse_args().swaps
    print("version  kind      became        after  why")
    with TemporaryDirectory() as folder:
        report = measured(Path(folder), kinds_of(swaps))
    for name, value in asdict(report).items():
        print(f"{name:<20}{value:>10,}")
    print(json.dumps({"swaps": asdict(report)}))
    return 1 if any(report.faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
