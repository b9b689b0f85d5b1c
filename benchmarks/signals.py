"""How fast do ticks become signals, beside what one would use instead?

    python -m benchmarks.signals [--parts PART ...] [--ticks N]

The service runs as its users run it, on a broker and a Ray of its own, and serves an ensemble of five members for each
of eight instruments. Contenders read the same ticks, one after the other, through the same codec, under the same ids
and headers, and every output is counted. A rate is that from a contender's first output to its last, by the broker's
times; the median of three turns is told, each of a third of the ticks. The last line is one JSON object; the exit
status is 1 where a target is missed.

Parts: throughput (ours, exactly once, Quix Streams, Faust, bare librdkafka), latency (ours and bare librdkafka at 1,000
ticks/s, and ours beside a search that keeps every core busy), trees (XGBoost and LightGBM members).
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import venv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from benchmarks.feed import FEATURES, MEMBERS, TICKERS, Feed, assembled, produce, want
from benchmarks.paced import paced, signal_id
from benchmarks.targets import Figures, missed
from orchestrator.features.samples import write_samples
from schemas.search import SearchRequest
from schemas.topics import FEATURE_TICKS, SEARCH_REQUESTS, SIGNALS
from streams import kafka
from streams.alone import running
from streams.broker.embedded import EmbeddedBroker
from streams.ray_head import client_environment
from streams.run_folder import RunFolder
from streams.source import group_of

QUIX = "quixstreams==3.28.1"
TICKS, FEW_TICKS, TREE_TICKS = 500_000, 3_000, 50_000
"""FEW_TICKS are for Faust, which takes them one by one."""
TURNS = 3
"""Contenders take turns: a machine is not always as fast."""
WARM_UP = 20_000
SECONDS, WARM_SECONDS = 30, 10
PATIENCE = 600.0
ENSEMBLE = "bench"
TICKS_READ = {FEATURE_TICKS.name: group_of(FEATURE_TICKS)}
BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}
BARS = 40 * TICKS // len(TICKERS)
"""Of the feed, up to now: more than all parts take."""


class Stuck(Exception):
    """A contender did not come to the end of its ticks."""


@dataclass
class Bench:
    """The broker that all contenders share, and the feed that all of them read."""

    folder: Path
    config: dict[str, Any]
    feed: Feed = field(default_factory=lambda: Feed.up_to_now(BARS))

    @contextmanager
    def service(self, algorithm: str, **variables: str) -> Iterator["Service"]:
        """The service with an ensemble of this algorithm, serving."""
        data = self.folder / f"service-{algorithm}"
        database = f"sqlite+aiosqlite:///{data / 'orchestrator.db'}"
        if not data.exists():
            data.mkdir()
            want(database, ENSEMBLE, assembled(ENSEMBLE, algorithm, data / "artifacts"))
        environment = os.environ | {
            "DATA_DIR": str(data),
            "KAFKA_BOOTSTRAP_SERVERS": self.config["bootstrap.servers"],
            "API_PORT": "0",
            "RAY_DASHBOARD_PORT": "0",
            "CALENDAR": "24/7",
            "SIGNAL_TTL": "3600",
            "LOG_LEVEL": "warning",
            **variables,
        }
        with (data / "up.log").open("w") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("orchestrator")), "up"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            found = Service(self, RunFolder(data), process)
            found.await_answers()
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)

    def topic(self, name: str) -> str:
        """A topic for what a contender writes."""
        admin = AdminClient(self.config)
        for made in admin.create_topics([NewTopic(name, FEATURE_TICKS.partitions, 1, config=BROKER_TIME)]).values():
            made.result()
        deadline = time.monotonic() + 30
        while True:
            try:
                self.ends(name)
            except KafkaException:
                # It is made, but has no leaders yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return name

    def stamp(self, topic: str) -> None:
        """Have the broker say when each record of a topic came: a contender may hand its tick's own time on."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in BROKER_TIME.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = AdminClient(self.config)
        for altered in admin.incremental_alter_configs([resource]).values():
            altered.result()

    def ends(self, topic: str) -> dict[int, int]:
        """The end of each partition."""
        consumer = Consumer(self.config | {"group.id": "bench-ends"})
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), 30)[1]
                for number in range(FEATURE_TICKS.partitions)
            }
        finally:
            consumer.close()

    def stand(self, group: str, at: Mapping[int, int]) -> None:
        """Have a group begin there."""
        consumer = Consumer(self.config | {"group.id": group, "enable.auto.commit": False})
        try:
            places = [TopicPartition(FEATURE_TICKS.name, number, offset) for number, offset in at.items()]
            for place in consumer.commit(offsets=places, asynchronous=False) or ():
                if place.error is not None:
                    raise KafkaException(place.error)
        finally:
            consumer.close()

    @contextmanager
    def reader(self, topic: str, begin: Mapping[int, int]) -> Iterator[Consumer]:
        """Whoever reads what is committed of a topic, from there on."""
        own = {"group.id": "bench-read", "isolation.level": "read_committed", "enable.auto.commit": False}
        reading = Consumer(self.config | own | {"fetch.wait.max.ms": 50})
        reading.assign([TopicPartition(topic, number, offset) for number, offset in begin.items()])
        try:
            yield reading
        finally:
            reading.close()

    def counted(self, topic: str, begin: Mapping[int, int], ticks: int, alive: subprocess.Popen[bytes]) -> float:
        """Wait for an output to each tick; outputs a second, from the first of them to the last.

        Raises:
            Stuck: they did not come.
        """
        seen: set[bytes | str] = set()
        times: list[int] = []
        deadline = time.monotonic() + PATIENCE
        with self.reader(topic, begin) as reading:
            # Looked at rarely: whoever counts must not take the time of whoever is measured.
            while sum(self.ends(topic).values()) - sum(begin.values()) < ticks:
                if alive.poll() is not None or time.monotonic() > deadline:
                    raise Stuck(f"{topic}: {sum(self.ends(topic).values()) - sum(begin.values())} of {ticks}")
                time.sleep(0.25)
            while len(seen) < ticks:
                if time.monotonic() > deadline:
                    raise Stuck(f"{topic}: {len(seen)} of {ticks} different outputs")
                for message in reading.consume(5_000, 0.5):
                    if identity := signal_id(message):
                        seen.add(identity)
                        times.append(message.timestamp()[1])
        if len(times) != ticks:
            raise Stuck(f"{topic}: {len(times)} outputs for {ticks} ticks")
        return (ticks - 1) / ((max(times) - min(times)) / 1000)


@dataclass
class Service:
    """A running copy of the service."""

    bench: Bench
    folder: RunFolder
    process: "subprocess.Popen[bytes]"

    def _pid(self) -> int:
        found = self.folder.running("worker")
        assert found is not None
        return found.pid

    def await_answers(self) -> None:
        """Wait until ticks are answered, those that wait first: some of the feed's are spent on it."""
        deadline = time.monotonic() + PATIENCE
        while self.folder.running("worker") is None or self.folder.running("api") is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Stuck((self.folder.path / "up.log").read_text()[-4000:])
            time.sleep(0.2)
        with self.bench.reader(SIGNALS.name, self.bench.ends(SIGNALS.name)) as reading:
            while not any(map(signal_id, reading.consume(1_000, 1.0))):
                if time.monotonic() > deadline:
                    raise Stuck("nothing answers")
                produce(self.bench.config, self.bench.feed, len(TICKERS))
        while any(place.lag for place in kafka.positions(self.bench.config, TICKS_READ)):
            if time.monotonic() > deadline:
                raise Stuck("ticks that waited are not worked off")
            time.sleep(0.5)
        time.sleep(2)

    def throughput(self, ticks: int) -> tuple[float, dict[int, int]]:
        """Signals a second while a backlog is worked off, and where the backlog began."""
        self._backlog(min(WARM_UP, ticks))
        return self._backlog(ticks)

    def _backlog(self, ticks: int) -> tuple[float, dict[int, int]]:
        begin, first = self.bench.ends(SIGNALS.name), self.bench.ends(FEATURE_TICKS.name)
        worker = self._pid()
        os.kill(worker, signal.SIGSTOP)
        try:
            sent = produce(self.bench.config, self.bench.feed, ticks)
        finally:
            os.kill(worker, signal.SIGCONT)
        return self.bench.counted(SIGNALS.name, begin, sent, self.process), first


@contextmanager
def contender(bench: Bench, name: str, python: str, **settings: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A contender's process."""
    told = json.dumps({"config": bench.config, "group": f"bench-{name}", "folder": str(bench.folder / name)} | settings)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (bench.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.signal_peers", name, told], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def measured(bench: Bench, name: str, python: str, first: Mapping[int, int], ticks: int, **settings: Any) -> float:
    """Outputs a second of a contender that works off the ticks from `first` on."""
    topic = bench.topic(f"bench-{name}-{time.monotonic_ns()}")
    group = f"bench-{name}-{time.monotonic_ns()}"
    bench.stand(group, first)
    with contender(bench, name, python, topic=topic, group=group, **settings) as process:
        try:
            return bench.counted(topic, dict.fromkeys(range(FEATURE_TICKS.partitions), 0), ticks, process)
        except Stuck as error:
            raise Stuck(f"{error}\n{(bench.folder / f'{name}.log').read_text()[-3000:]}") from None


def quix_python(folder: Path) -> str:
    """An interpreter with Quix Streams, whose pins clash with the service's: the rest it has from the service's."""
    _say(f"an environment for {QUIX} ...")
    environment = folder / "quix"
    venv.create(environment, with_pip=True)
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "_service.pth").write_text(f"{ours}\n")
    python = str(environment / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", QUIX], check=True)
    return python


def throughput(bench: Bench, ticks: int, python: str, algorithm: str, *, turns: int, everyone: bool) -> Figures:
    """Ticks a second of each contender: the median of its turns, which share the ticks."""
    rates: dict[str, list[float]] = defaultdict(list)
    each = ticks // turns // len(TICKERS) * len(TICKERS)
    for turn in range(turns):
        for name, rate in _turn(bench, each, python, algorithm, everyone=everyone, slow=everyone and not turn):
            rates[name].append(rate)
            _told(algorithm, name, rate)
    found: Figures = {name: median(measured) for name, measured in rates.items()}
    found["over_quix_streams"] = found["ours"] / found["quix_streams"]
    if everyone:
        found["over_faust_plain"] = found["ours"] / found["faust_plain"]
        found["of_floor"] = found["ours"] / found["floor"]
    return found


def _turn(
    bench: Bench, ticks: int, python: str, algorithm: str, *, everyone: bool, slow: bool
) -> Iterator[tuple[str, float]]:
    """One contender after the other, on the same ticks; `slow` ones, too, on a few."""
    with bench.service(algorithm) as service:
        about = {
            "ensemble": ENSEMBLE,
            "artifacts": str(service.folder.path / "artifacts"),
            "digest": _digest(service.folder.path),
        }
        if slow:
            yield "faust_plain", _faust(bench, service, **about)
        # From here on each reads to the end of the ticks.
        rate, first = service.throughput(ticks)
        yield "ours", rate
    yield "quix_streams", measured(bench, "quix_streams", python, first, ticks, **about)
    if everyone:
        yield "floor", measured(bench, "floor", sys.executable, first, ticks)
        with bench.service(algorithm, SIGNAL_GUARANTEE="exactly_once") as service:
            yield "ours_exactly_once", service.throughput(ticks)[0]


def _faust(bench: Bench, service: Service, **about: str) -> float:
    """Outputs a second of Faust, which asks the service's own replica."""
    few, before = FEW_TICKS // len(TICKERS) * len(TICKERS), bench.ends(FEATURE_TICKS.name)
    environment = {"ray": service.folder.require("ray")["address"], "namespace": "trading_bot"}
    os.environ.update(_ray_access(service.folder))
    produce(bench.config, bench.feed, few)
    return measured(bench, "faust_plain", sys.executable, before, few, **about, **environment)


def latency(bench: Bench) -> tuple[Figures, Figures]:
    """Milliseconds from a tick's producing to its output's being read: ours, librdkafka's, and ours beside a search."""
    topic, group = bench.topic(f"bench-floor-{time.monotonic_ns()}"), f"bench-floor-{time.monotonic_ns()}"
    bench.stand(group, bench.ends(FEATURE_TICKS.name))
    with contender(bench, "floor", sys.executable, topic=topic, group=group):
        _paced(bench, topic, WARM_SECONDS)
        floor = _paced(bench, topic)
    _say(f"latency floor {floor}")
    with bench.service("elasticnet") as service:
        _paced(bench, SIGNALS.name, WARM_SECONDS)
        ours = _paced(bench, SIGNALS.name)
        _say(f"latency ours {ours}")
        _search(bench, service)
        busy = _paced(bench, SIGNALS.name)
        _say(f"latency under_search {busy}")
    return (
        {"ours": ours, "floor": floor, "over_floor": ours["p50"] / floor["p50"]},
        {"ours": busy, "over_idle": busy["p99"] / ours["p99"]},
    )


def _search(bench: Bench, service: Service) -> None:
    """Have a search keep every core busy, and wait until it does."""
    write_samples(service.folder.path / "features_parquet", ("AAPL", "IBM", "MSFT"))
    request = SearchRequest(
        request_id=f"busy-{time.monotonic_ns()}",
        strategy="random",
        algorithm="xgboost_regressor",
        tickers=("AAPL", "IBM", "MSFT"),
        timeframe="1d",
        num_samples=2_000,
    )
    producer = Producer(bench.config)
    producer.produce(SEARCH_REQUESTS.name, request.model_dump_json().encode())
    producer.flush(30)
    deadline = time.monotonic() + PATIENCE
    while True:
        busy = []
        for each in psutil.process_iter(["cmdline"]):
            if "ray::Lane" in " ".join(each.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    busy.append(each.cpu_percent(0.5))
        if sum(busy) > 50 * (os.cpu_count() or 1):
            break
        if time.monotonic() > deadline:
            raise Stuck("the search does not begin")
    time.sleep(2)


def _paced(bench: Bench, topic: str, seconds: int = SECONDS) -> dict[str, float]:
    return paced(bench.config, bench.feed, topic, bench.ends(topic), seconds)


def _digest(data: Path) -> str:
    with closing(sqlite3.connect(data / "orchestrator.db")) as database:
        (digest,) = database.execute("SELECT digest FROM ensembles").fetchone()
    return str(digest)


def _ray_access(folder: RunFolder) -> dict[str, str]:
    return dict(client_environment(folder))


def _told(part: str, name: str, rate: float) -> None:
    _say(f"{part:20} {name:20} {rate:10,.0f} ticks/s")


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("throughput", "latency", "trees")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--ticks", type=int, default=TICKS)
    asked = parser.parse_args()
    ticks = asked.ticks // len(TICKERS) * len(TICKERS)
    _say(f"{ticks:,} ticks of {len(FEATURES)} features, {len(TICKERS)} instruments, {MEMBERS} members each")
    table: Figures = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        python = quix_python(folder) if {"throughput", "trees"} & set(asked.parts) else ""
        broker = RunFolder(folder / "broker")
        with running(EmbeddedBroker(broker, 0, os.environ), broker) as (facts, _):
            config = {"bootstrap.servers": facts["bootstrap"]}
            kafka.ensure_topics(config)
            bench = Bench(folder, config)
            bench.stamp(SIGNALS.name)
            if "throughput" in asked.parts:
                table["throughput"] = throughput(bench, ticks, python, "elasticnet", turns=TURNS, everyone=True)
            if "latency" in asked.parts:
                table["latency"], table["under_search"] = latency(bench)
            if "trees" in asked.parts:
                some = min(ticks, TREE_TICKS)
                for algorithm in ("xgboost_regressor", "lightgbm_regressor"):
                    table[algorithm] = throughput(bench, some, python, algorithm, turns=1, everyone=False)
    failed = missed(table)
    for each in failed:
        _say(f"missed: {each}")
    print(json.dumps(table))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
