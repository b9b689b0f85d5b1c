"""A running copy of the service: started, spoken to and stopped as its users do."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from orchestrator.core.bars import Bars
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.samples import write_samples
from schemas.base import Message, format_instant
from schemas.envelope import encode
from schemas.signals import Signal
from schemas.topics import FEATURE_TICKS, SEARCH_REQUESTS, Topic
from streams import kafka
from streams.following import RequestStory, event_of, opened
from streams.reader import TopicReader
from streams.replay import tick_of
from streams.run_folder import RunFolder
from streams.settings import Settings
from streams.source import Record

TICKERS = ("AAPL", "IBM", "MSFT")
FEED_SESSIONS = 60
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Service:
    """A running copy."""

    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    settings: Settings
    folder: RunFolder

    @property
    def said(self) -> str:
        """What it has printed."""
        return (self.folder.path / "up.log").read_text()

    @property
    def config(self) -> dict[str, Any]:
        return kafka.client_config(self.settings, self.folder)

    @property
    def url(self) -> str:
        return str(self.folder.require("api")["url"])

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return str(answer.read().decode())

    def command(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """`orchestrator ARGUMENTS`, as a user of this copy runs it."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("orchestrator")), *arguments],
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def bars(self) -> tuple[Bars, ...]:
        """The last sessions of each ticker: what no search of these tests sees."""
        source = ParquetFeatures(self.settings.features_folder, minimum_rows=FEED_SESSIONS)
        start = self.feed_start()
        return tuple(source.load(ticker, "1d", start=start) for ticker in TICKERS)

    def feed_start(self) -> datetime:
        source = ParquetFeatures(self.settings.features_folder)
        moment: datetime = source.load(TICKERS[0], "1d").event_time[-FEED_SESSIONS].item()
        return moment.replace(tzinfo=UTC)

    def produce(self, topic: Topic, values: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Produce keys and values, and wait for their acknowledgement."""
        producer = Producer(self.config | {"acks": "all", "enable.idempotence": True})
        failures: list[str] = []
        for key, value in values:
            while True:
                try:
                    producer.produce(
                        topic.name,
                        key=key,
                        value=value,
                        on_delivery=lambda error, message: failures.append(str(error)) if error else None,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0
        assert not failures

    def play(self, rows: slice, tickers: Sequence[str] = TICKERS) -> int:
        """Produce these rows of every one of these tickers as ticks that are available now; how many."""
        now = datetime.now(UTC)
        ticks = [
            (bars.ticker.encode(), encode(tick_of(bars, row, now)))
            for bars in self.bars()
            if bars.ticker in tickers
            for row in range(*rows.indices(len(bars)))
        ]
        self.produce(FEATURE_TICKS, ticks)
        return len(ticks)

    def ask(self, **fields: Any) -> str:
        """Produce a search request; its id."""
        self.produce(SEARCH_REQUESTS, [(None, json.dumps(fields).encode())])
        return str(fields["request_id"])

    def follow(self, request_id: str, *, deploys: bool) -> RequestStory:
        """A request's story up to its end."""
        story = RequestStory(request_id, deploys)
        deadline = time.monotonic() + PATIENCE_SECONDS
        told, trials = opened(self.config, datetime(2000, 1, 1, tzinfo=UTC))
        with told, trials:
            while not story.ended or story.scored + story.failed < story.trials:
                assert time.monotonic() < deadline, f"{request_id} did not end: {story}"
                for record in (*told.read(0.1), *trials.read(0.1)):
                    story.apply(event_of(record))
        return story

    def await_records(
        self, topic: Topic, enough: int, wanted: Any = lambda record: True, patience: float = PATIENCE_SECONDS
    ) -> list[Record]:
        """The topic's records that are wanted, once there are enough of them."""
        found: list[Record] = []
        deadline = time.monotonic() + patience
        with TopicReader(self.config, [topic]) as reader:
            while len(found) < enough:
                assert time.monotonic() < deadline, f"{len(found)} of {enough} records came to {topic.name}"
                found += [record for record in reader.read(0.2) if wanted(record)]
            found += [record for record in reader.read_to_end() if wanted(record)]
        return found


def request(service: Service, request_id: str, **fields: Any) -> dict[str, Any]:
    """A small search on all tickers, without the bars of the feed."""
    return {
        "request_id": request_id,
        "strategy": "grid",
        "algorithm": "elasticnet",
        "tickers": list(TICKERS),
        "param_grid": {"alpha": [0.001, 0.01], "l1_ratio": [0.5]},
        "data_end": format_instant(service.feed_start()),
    } | fields


def of_type(records: Sequence[Record], message: type[Message]) -> list[Record]:
    """Those whose CloudEvents type is the message's."""
    return [record for record in records if dict(record.headers)["ce_type"] == message.TYPE.encode()]


def is_signal_of(record: Record, ensemble: str) -> bool:
    """Whether a record of signals is one of an ensemble's; a heartbeat names ensembles, too."""
    return bool(of_type([record], Signal)) and f'"ensemble":"{ensemble}"'.encode() in (record.value or b"")


@contextmanager
def running(data_dir: Path, **variables: str) -> Iterator[Service]:
    """`orchestrator up` in a folder of its own, ready; at the end it drains.

    Args:
        data_dir: of the copy; sample prices are written where there are no features yet.
        variables: of its environment, besides those that keep it apart from other copies.
    """
    own = {
        "DATA_DIR": str(data_dir),
        "KAFKA_PORT": "0",
        "API_PORT": "0",
        "SERVE_PORT": "0",
        "RAY_DASHBOARD_PORT": "0",
        **variables,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")} | own
    settings = Settings.read(environment)
    folder = RunFolder(settings.data_dir)
    if not settings.features_folder.exists():
        write_samples(settings.features_folder, TICKERS)
    command = [str(Path(sys.executable).with_name("orchestrator")), "up"]
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.log").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
    started = Service(process, environment, settings, folder)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while folder.running("api") is None or folder.running("worker") is None:
            assert process.poll() is None, started.said
            assert time.monotonic() < deadline, started.said
            time.sleep(0.2)
        yield started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
