"""A service to do harm to, and what is asked of it afterwards."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from schemas.topics import ENSEMBLE_EVENTS, EXPERIMENT_EVENTS, SEARCH_REQUESTS, TRIAL_EVENTS, Topic
from streams.child import alive
from streams.ray_head import client_environment
from streams.reader import TopicReader
from streams.run_folder import Record
from tests.service import Service, request, running

INTERFERENCE = Path(__file__).with_name("interference")
ROOT = Path(__file__).parents[2]
PATIENCE = 150.0
LOOK_SECONDS = 0.05
TOLD = ("accepted", "duplicate", "rejected")
ENDED = ("deployed", "selected", "failed", "cancelled")


class Violated(Exception):
    """An invariant does not hold."""


class Skipped(Exception):
    """The fault cannot be brought about on this machine."""


@dataclass(frozen=True)
class Stage:
    """A running service, and where moments and notes lie.

    Attributes:
        patience: seconds after which what was to happen counts as not happening.
        whole: every guard is in its place.
        again: the service, where it had to be started again.
    """

    service: Service
    folder: Path
    patience: float = PATIENCE
    whole: bool = True
    again: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def search(self, request_id: str, **fields: Any) -> dict[str, Any]:
        """A search request of one small trial, unless `fields` say more."""
        grid = {"alpha": [0.001], "l1_ratio": [0.5]}
        return request(self.service, request_id, **({"tickers": ["AAPL"], "param_grid": grid} | fields))

    @contextmanager
    def witness(
        self, requests: Sequence[Mapping[str, Any]], *, pause: float = 0.0, topic: Topic = SEARCH_REQUESTS
    ) -> Iterator[Callable[[], list[str]]]:
        """Requests on their way, by a process of its own; called, it waits for their end: which were acknowledged."""
        lines = "".join(f"{each['request_id']}\t{json.dumps(each)}\n" for each in requests)
        book = self.folder / f"book-{time.monotonic_ns()}"
        records = book.with_suffix(".records")
        records.write_text(lines)
        command = (sys.executable, "-m", "tests.faults.witness", json.dumps(self.service.config), topic.name)
        with records.open() as given:
            process = subprocess.Popen([*command, str(book), str(pause)], stdin=given, cwd=ROOT)

        def acknowledged() -> list[str]:
            self.until(lambda: process.poll() is not None, "every request is acknowledged")
            return book.read_text().split()

        try:
            yield acknowledged
        finally:
            process.kill()
            process.wait()

    def send(self, requests: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have a witness send requests, and wait for it: which were acknowledged."""
        with self.witness(requests) as acknowledged:
            return acknowledged()

    def deploy(self) -> list[str]:
        """Have an ensemble serve; the request for it, acknowledged."""
        deploy = {"auto": True, "ensemble_name": "bot", "gate": False}
        acknowledged = self.send([self.search("served", deploy=deploy)])
        self.until(lambda: bool(self.query("SELECT 1 FROM ensembles WHERE state = 'deployed'")), "an ensemble serves")
        return acknowledged

    @contextmanager
    def worker(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """One more worker on the service's broker, Ray and database, until left."""
        service = self.service
        serves = service.folder.recorded("serve")
        environment = {
            **service.environment,
            **client_environment(service.folder),
            "DATA_DIR": str(self.folder / f"worker.{name}"),
            "KAFKA_BOOTSTRAP_SERVERS": str(service.folder.require("broker")["bootstrap"]),
            "RAY_ADDRESS": str(service.folder.require("ray")["address"]),
            "SERVE_PORT": "8000" if serves is None else str(serves.facts["port"]),
            "DATABASE_URL": service.settings.store_url,
            "FEATURES_DIR": str(service.settings.features_folder),
            "ARTIFACTS_DIR": str(service.settings.artifacts_folder),
        }
        with (self.folder / f"worker.{name}.log").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "worker"], env=environment, stdout=said, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def arm(self, moment: str) -> None:
        """Have the next process that comes to this moment stand still there."""
        (self.folder / f"reached.{moment}").unlink(missing_ok=True)
        (self.folder / f"at.{moment}").touch()

    def held_at(self, moment: str) -> psutil.Process:
        """The process that stands there, as soon as one does."""
        reached = self.folder / f"reached.{moment}"
        self.until(lambda: reached.exists() and bool(reached.read_text()), f"a process comes to the moment {moment}")
        return psutil.Process(int(reached.read_text()))

    @contextmanager
    def dawdling(self, ensemble: str, seconds: float) -> Iterator[None]:
        """Have an ensemble's replica take so long over each batch."""
        asked = self.folder / f"dawdles.{ensemble}"
        asked.write_text(str(seconds))
        try:
            yield
        finally:
            asked.unlink()

    def notes(self, name: str) -> list[str]:
        """Lines that processes have noted."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def child(self, name: str) -> psutil.Process:
        """The process of broker, ray, worker or api, once it is ready."""
        found: list[Record] = []

        def runs() -> bool:
            record = self.service.folder.running(name)
            found.extend([] if record is None else [record])
            return record is not None

        self.until(runs, f"{name} runs")
        return psutil.Process(found[0].pid)

    def processes(self, *titles: str) -> list[psutil.Process]:
        """The service's processes whose command begins with, or whose program is called by one of `titles`."""
        found = []
        for process in psutil.Process(self.service.process.pid).children(recursive=True):
            try:
                command = process.cmdline() or [""]
            except psutil.NoSuchProcess:
                continue
            if command[0].startswith(titles) or Path(command[0]).name in titles:
                found.append(process)
        return found

    def kill(self, *processes: psutil.Process) -> None:
        """kill -9, and wait until they are gone."""
        for process in processes:
            process.send_signal(signal.SIGKILL)
        self.until(lambda: not any(map(alive, processes)), "what was killed is gone")

    def until(self, is_so: Callable[[], bool], what: str, patience: float | None = None) -> None:
        """Wait.

        Raises:
            Violated: it does not happen.
        """
        deadline = time.monotonic() + (patience or self.patience)
        while not is_so():
            if time.monotonic() > deadline:
                raise Violated(f"it did not happen in {patience or self.patience:g} s that {what}")
            time.sleep(LOOK_SECONDS)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database, read past the service."""
        path = self.service.settings.store_url.split("///", 1)[1]
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement, values).fetchall()

    def is_written(self) -> bool:
        """Whether somebody has the database for writing, and keeps it for longer than a transaction takes."""
        path = self.service.settings.store_url.split("///", 1)[1]
        with closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return True
        return False

    def unfinished(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Those of these requests for which there is something left to do, and where they stand."""
        marks = ",".join("?" * len(request_ids))
        rows = self.query(
            f"SELECT r.request_id, r.outcome, e.state FROM requests r LEFT JOIN experiments e ON e.id = r.experiment "
            f"WHERE r.request_id IN ({marks})",
            *request_ids,
        )
        stands = {name: str(state or outcome) for name, outcome, state in rows}
        return {
            name: stands.get(name, "not in the database")
            for name in request_ids
            if stands.get(name) not in (*ENDED, "rejected")
        }

    def settle(self, request_ids: Sequence[str], patience: float | None = None) -> None:
        """Wait until every one of these requests has ended, and every event of them is on Kafka."""
        try:
            self.until(lambda: not self.unfinished(request_ids), "every acknowledged request ends", patience)
        except Violated as late:
            raise Violated(f"{late}: {self.unfinished(request_ids)}") from None
        unpublished = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        self.until(lambda: self.query(unpublished) == [(0,)], "every event is published", patience)

    def audit(self, acknowledged: Sequence[str]) -> int:
        """Compare what was acknowledged with the database and with Kafka; how many facts were looked at.

        Raises:
            Violated: a request is not there, is there twice, or is told of twice; or events have gaps.
        """
        rows = Counter(name for (name,) in self.query("SELECT request_id FROM requests"))
        for name in acknowledged:
            _see(rows[name] == 1, f"{rows[name]} rows of the acknowledged request {name}")
        told: Counter[str] = Counter()
        known: dict[tuple[str, str], dict[int, bytes]] = defaultdict(dict)
        with TopicReader(self.service.config, [EXPERIMENT_EVENTS, TRIAL_EVENTS, ENSEMBLE_EVENTS]) as reader:
            records = reader.read_to_end()
        for record in records:
            value = record.value or b"{}"
            event = json.loads(value)
            sequences = known[record.topic, (record.key or b"").decode()]
            before = sequences.setdefault(event["sequence"], value)
            _see(before == value, f"two events {event['sequence']} of {record.key!r} on {record.topic}")
            if before is value and event["event"] in TOLD:
                told[event["request_id"]] += 1
        for name in acknowledged:
            _see(told[name] == 1, f"the request {name} is answered {told[name]} times")
        for (topic, key), sequences in known.items():
            _see(sorted(sequences) == [*range(1, len(sequences) + 1)], f"gaps in the events of {key} on {topic}")
        whole = self.query("PRAGMA integrity_check")
        _see(whole == [("ok",)], f"the database is damaged: {whole}")
        return len(acknowledged) + len(records)

    def stop(self) -> None:
        """End the service in order."""
        self.service.process.send_signal(signal.SIGTERM)
        self.service.process.wait(self.patience)

    def start_again(self) -> None:
        """Start the service where it has ended, as its operator does when he has mended what was wrong."""
        process, folder = self.service.process, self.service.folder
        self.until(lambda: process.poll() is not None or folder.running("broker") is not None, "the broker is back")
        if process.poll() is not None:
            self.again.append(self._up())
            self.child("worker")

    def _up(self) -> "subprocess.Popen[bytes]":
        command = [str(Path(sys.executable).with_name("orchestrator")), "up"]
        environment = dict(self.service.environment)
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def try_start(self) -> int:
        """Start the service again until it is ready or ends: 0, or its exit code; it does not run afterwards."""
        process = self._up()
        try:
            self.until(
                lambda: process.poll() is not None or self.service.folder.running("worker") is not None,
                "the service starts, or ends",
            )
            return process.poll() or 0
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(self.patience)


def _see(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violated(otherwise)


def take_out(notes: Path, guard: str) -> None:
    """Take out this guard, and put the one before it back."""
    for before in notes.glob("without.*"):
        before.unlink()
    (notes / f"without.{guard}").touch()


@contextmanager
def staged(folder: Path, without: Sequence[str], variables: Mapping[str, str]) -> Iterator[Stage]:
    """A service of its own, from which guards can be taken out; the first of them is, from the start."""
    notes = folder / "notes"
    notes.mkdir(parents=True)
    for guard in without[:1]:
        take_out(notes, guard)
    paths = [str(INTERFERENCE), *filter(None, [variables.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])]
    own = {
        **variables,
        "PYTHONPATH": os.pathsep.join(paths),
        "FAULTS_FOLDER": str(notes),
        "FAULTS_WITHOUT": ",".join(without),
    }
    with running(folder / "data", **own) as service:
        stage = Stage(service, notes, PATIENCE / 3 if without else PATIENCE, not without)
        try:
            yield stage
        finally:
            for process in stage.again:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE)
