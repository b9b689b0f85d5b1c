"""Faults, and what holds nevertheless. Each is brought about in a service of its own, as a machine would."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from schemas.envelope import encode
from schemas.topics import EXPERIMENT_EVENTS, FEATURE_TICKS, SIGNALS_BY_MODE
from streams.child import alive
from streams.ray_head import client_environment
from streams.reader import TopicReader
from streams.replay import tick_of
from tests.faults.stage import Skipped, Stage, Violated
from tests.integration.test_search import DEADLY, LARGE, SLOW, install

DRIVER, LANE = "ray::ExperimentDriver", "ray::ResourceTrainable"
STOPPED_SECONDS = 90.0


def _nothing(folder: Path) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Fault:
    """A fault, what it must not break, and the guard without which it does.

    Attributes:
        strike: does the harm and looks; returns how many facts were looked at, and raises Violated.
        variables: of the service's environment; the folder is for what they point to.
        disks: folders of the data folder that lie on disks of their own, and the MiB of these.
    """

    number: int
    name: str
    invariant: str
    guard: str
    strike: Callable[[Stage], int]
    variables: Callable[[Path], Mapping[str, str]] = _nothing
    disks: Mapping[str, int] = field(default_factory=dict)


def worker_killed(stage: Stage) -> int:
    """Before a batch is in the database, and between that and the commit of its offset."""
    acknowledged: list[str] = []
    for number, moment in enumerate(("before-database", "before-commit") * 2):
        stage.arm(moment)
        with stage.witness([stage.search(f"killed-{number}-{each}") for each in range(3)]) as sent:
            held = stage.held_at(moment)
            acknowledged += sent()
            stage.kill(held)
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_killed(stage: Stage) -> int:
    """While requests come, and an experiment runs."""
    requests = [stage.search(f"broken-{number}", seed=number % 3) for number in range(40)]
    with stage.witness(requests, pause=0.2) as sent:
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) >= 5, "some requests are taken")
        stage.kill(stage.child("broker"))
        known = len(stage.query("SELECT 1 FROM requests"))
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) > known, "requests are taken again", 60)
        acknowledged = sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_stopped(stage: Stage) -> int:
    """For longer than any delivery is waited for, while an experiment has much to tell."""
    first = stage.search("first", param_grid={"alpha": [n * 1e-4 for n in range(1, 101)], "l1_ratio": [0.5]})
    with stage.witness([first]) as sent:
        acknowledged = sent()
    stage.until(lambda: len(stage.query("SELECT 1 FROM trials")) > 0, "the experiment is under way")
    broker = stage.child("broker")
    broker.suspend()
    try:
        with stage.witness([stage.search(f"later-{number}") for number in range(3)]) as sent:
            time.sleep(STOPPED_SECONDS)
            published = stage.query("SELECT count(*) FROM outbox WHERE published_at > datetime('now', '-60 seconds')")
            broker.resume()
            acknowledged += sent()
    finally:
        broker.resume()
    if published != [(0,)]:
        raise Violated(f"{published[0][0]} events count as published by a broker that stood still")
    stage.settle(acknowledged)
    return stage.audit(acknowledged) + 1


def driver_killed(stage: Stage) -> int:
    """In the middle of a population's training: nothing that was recorded is trained again."""
    population, generations = 6, 5
    request = stage.search(
        "population",
        strategy="pbt",
        algorithm="lightgbm_regressor",
        population_size=population,
        num_generations=generations,
        param_grid=None,
    )
    request.pop("param_grid")
    with stage.witness([request]) as sent:
        acknowledged = sent()
    steps = "SELECT trial, step FROM trial_steps"
    stage.until(lambda: len(stage.query(steps)) >= population + 2, "the second generation is under way")
    stage.kill(*stage.processes(DRIVER))
    recorded = {f"{trial} {step}" for trial, step in stage.query(steps)}
    trained = len(stage.notes("evaluated"))
    stage.settle(acknowledged)
    again = recorded & set(stage.notes("evaluated")[trained:])
    if again:
        raise Violated(f"{len(again)} recorded steps were trained again, such as {min(again)}")
    count = len(stage.query(steps))
    if count != population * generations:
        raise Violated(f"{count} steps were trained for a budget of {population * generations}")
    return stage.audit(acknowledged) + len(recorded)


def ray_killed(stage: Stage) -> int:
    """Its head, while an ensemble serves and an experiment runs."""
    served = stage.search("served", deploy={"auto": True, "ensemble_name": "bot", "gate": False})
    with stage.witness([served]) as sent:
        acknowledged = sent()
    versions = "SELECT ensemble, version FROM ensembles WHERE state = 'deployed'"
    stage.until(lambda: len(stage.query(versions)) == 1, "an ensemble serves")
    before = stage.query(versions)
    running = stage.search(
        "running",
        algorithm="lightgbm_regressor",
        param_grid={"learning_rate": [0.01 * number for number in range(1, 41)]},
    )
    with stage.witness([running]) as sent:
        acknowledged += sent()
    stage.until(lambda: len(stage.notes("evaluated")) > 5, "the experiment is under way")
    stage.kill(*stage.processes("gcs_server"))
    stage.settle(acknowledged)
    after = stage.query(versions)
    if before != after:
        raise Violated(f"{before} served before, and {after} serve now")
    answered = _signals(stage, ticks=20)
    if set(answered.values()) != {before[0][1]} or len(answered) != 20:
        raise Violated(f"20 ticks were answered by versions {sorted(set(answered.values()))} {len(answered)} times")
    return stage.audit(acknowledged) + len(answered)


def driver_stopped(stage: Stage) -> int:
    """Past its lease, and then awake again: it writes nothing."""
    request = stage.search(
        "stopped",
        algorithm="lightgbm_regressor",
        param_grid={"learning_rate": [0.01 * number for number in range(1, 41)]},
    )
    with stage.witness([request]) as sent:
        acknowledged = sent()
    stage.until(lambda: len(stage.query("SELECT 1 FROM trial_histories")) > 3, "the experiment is under way")
    (zombie,) = stage.processes(DRIVER)
    _suspend(stage, zombie)
    stage.until(lambda: any(each.pid != zombie.pid for each in stage.processes(DRIVER)), "another driver leads on")
    wrote = len(stage.notes(f"wrote.{zombie.pid}"))
    if alive(zombie):
        zombie.resume()
    stage.settle(acknowledged)
    late = len(stage.notes(f"wrote.{zombie.pid}")) - wrote
    if late:
        raise Violated(f"the driver that had lost its lease has written {late} times since")
    return stage.audit(acknowledged) + 1


def workers_come_and_go(stage: Stage) -> int:
    """Two of them, every ten seconds, by turns asked to leave and killed; a third stays."""
    requests = [stage.search(f"load-{number}", seed=number % 2) for number in range(100)]
    with stage.witness(requests, pause=0.4) as sent:
        for turn in range(4):
            with ExitStack() as both:
                others = [both.enter_context(_worker(stage, f"{turn}.{number}")) for number in range(2)]
                time.sleep(10)
                others[0].send_signal(signal.SIGTERM)
                others[1].send_signal(signal.SIGKILL)
                others[0].wait(60)
        acknowledged = sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def asked_a_thousand_times(stage: Stage) -> int:
    """The same work under a thousand ids: one execution, a thousand answers."""
    count = 1000 if stage.whole else 20
    with stage.witness([stage.search(f"same-{number}") for number in range(count)]) as sent:
        acknowledged = sent()
    stage.until(
        lambda: len(stage.notes("evaluated")) > 1 or not stage.unfinished(acknowledged), "every request is answered"
    )
    trained = len(stage.notes("evaluated"))
    if trained != 1:
        raise Violated(f"one configuration was trained {trained} times")
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def database_disk_full(stage: Stage) -> int:
    """Loud and paused; what was acknowledged meanwhile is done when there is space again."""
    with stage.witness([stage.search("before")]) as sent:
        acknowledged = sent()
    stage.settle(acknowledged)
    with _full(Path(stage.service.settings.store_url.split("///", 1)[1]).parent):
        with stage.witness([stage.search(f"full-{number}", seed=number) for number in range(5)]) as sent:
            acknowledged += sent()
        log = stage.service.folder.log("worker")
        stage.until(lambda: "database_away" in log.read_text() or "ended_by_failure" in log.read_text(), "it is told")
        time.sleep(5)
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_disk_full(stage: Stage) -> int:
    """Kafka's own disk: nothing that it has acknowledged is lost."""
    with stage.witness([stage.search("before")]) as sent:
        acknowledged = sent()
    stage.settle(acknowledged)
    requests = [stage.search(f"full-{number}", seed=number % 3) for number in range(60)]
    with stage.witness(requests, pause=0.1) as sent:
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) > 5, "requests are taken")
        with _full(stage.service.folder.kafka):
            time.sleep(45)
        acknowledged += sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def store_damaged(stage: Stage) -> int:
    """SQLite's file and Tune's, cut off and garbled: the one is refused as it is, the others are of no account."""
    grid = {"learning_rate": [0.01 * number for number in range(1, 31)]}
    with stage.witness([stage.search("garbled", algorithm="lightgbm_regressor", param_grid=grid)]) as sent:
        acknowledged = sent()
    stage.until(lambda: len(stage.query("SELECT 1 FROM trial_histories")) > 3, "the experiment is under way")
    recorded = {f"{trial} 1" for (trial,) in stage.query("SELECT trial FROM trial_histories")}
    spoilt = _spoil(stage.service.settings.data_dir / "tune")
    stage.kill(*stage.processes(DRIVER), *stage.processes(LANE))
    trained = len(stage.notes("evaluated"))
    stage.settle(acknowledged)
    if again := recorded & set(stage.notes("evaluated")[trained:]):
        raise Violated(f"{len(again)} recorded trials were trained again, such as {min(again)}")
    facts = stage.audit(acknowledged)
    stage.stop()
    path = Path(stage.service.settings.store_url.split("///", 1)[1])
    whole = path.read_bytes()
    damages = {
        "cut in half": whole[: len(whole) // 2],
        "garbled": whole[:8192] + b"\xa5" * 65536 + whole[73728:],
        "emptied": b"",
    }
    for how, damaged in damages.items():
        path.write_bytes(damaged)
        if (code := stage.try_start()) == 0:
            raise Violated(f"the service has started on a database that was {how}")
        if path.read_bytes() != damaged:
            raise Violated(f"a database that was {how} has been written to (exit code {code})")
    path.write_bytes(whole)
    return facts + spoilt + 3


def trials_misbehave(stage: Stage) -> int:
    """One eats memory, one dies, one never ends: each fails alone with its reason."""
    grid = {"alpha": [0.01, DEADLY, SLOW, LARGE], "l1_ratio": [0.5]}
    with stage.witness([stage.search("wild", algorithm="misbehaving", param_grid=grid), stage.search("tame")]) as sent:
        acknowledged = sent()
    stage.settle(acknowledged)
    rows = stage.query("SELECT t.configuration, t.status, t.reasons FROM trials t WHERE t.experiment = 'wild'")
    if not rows:
        rows = stage.query(
            "SELECT t.configuration, t.status, t.reasons FROM trials t JOIN requests r ON r.experiment = t.experiment "
            "WHERE r.request_id = 'wild'"
        )
    found = {json.loads(row[0])["alpha"]: [reason["code"] for reason in json.loads(row[2])] for row in rows}
    if found != {0.01: [], DEADLY: ["worker_failed"], SLOW: ["out_of_time"], LARGE: ["out_of_memory"]}:
        raise Violated(f"trials ended otherwise: {found}")
    return stage.audit(acknowledged) + len(found)


def broker_unreachable_for_producers(stage: Stage) -> int:
    """It refuses what the service tells, and is read from all the same: nothing read counts as done."""
    served = stage.search("served", deploy={"auto": True, "ensemble_name": "bot", "gate": False})
    with stage.witness([served]) as sent:
        acknowledged = sent()
    stage.until(lambda: bool(stage.query("SELECT 1 FROM ensembles WHERE state = 'deployed'")), "it serves")
    told = [topic.name for topic in (*SIGNALS_BY_MODE.values(), EXPERIMENT_EVENTS)]
    _set(stage, told, "min.insync.replicas", "2")
    try:
        with stage.witness([stage.search("meanwhile", seed=7)]) as sent:
            acknowledged += sent()
        sent_ticks = _send_ticks(stage, 30)
        time.sleep(45)
    finally:
        _set(stage, told, "min.insync.replicas", "1")
    answered = _answers(stage, sent_ticks)
    if len(answered) != len(sent_ticks):
        raise Violated(f"{len(answered)} of {len(sent_ticks)} ticks are answered")
    stage.settle(acknowledged)
    return stage.audit(acknowledged) + len(answered)


def _suspend(stage: Stage, process: psutil.Process) -> None:
    """Stop a process while it does not write: SQLite has one writer at a time, and others would wait for it."""
    while True:
        process.suspend()
        if not stage.is_written():
            return
        process.resume()
        time.sleep(0.05)


def _signals(stage: Stage, ticks: int) -> dict[str, int]:
    """Versions that answer ticks sent now, by tick."""
    return _answers(stage, _send_ticks(stage, ticks))


def _send_ticks(stage: Stage, count: int) -> list[str]:
    """Send the last bars as ticks that are available now; their times."""
    bars = stage.service.bars()[0]
    now = datetime.now(UTC)
    ticks = [tick_of(bars, row, now) for row in range(len(bars) - count, len(bars))]
    stage.service.produce(FEATURE_TICKS, [(bars.ticker.encode(), encode(tick)) for tick in ticks])
    return [json.loads(encode(tick))["event_time"] for tick in ticks]


def _answers(stage: Stage, wanted: list[str]) -> dict[str, int]:
    """By the time of its tick, the version that answered; waits until all are there or patience ends."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + stage.patience
    with TopicReader(stage.service.config, [*SIGNALS_BY_MODE.values()]) as reader:
        while len(found) < len(wanted) and time.monotonic() < deadline:
            for record in reader.read(0.2):
                signal_ = json.loads(record.value or b"{}")
                if signal_["event_time"] in wanted:
                    found[signal_["event_time"]] = signal_["version"]
    return found


def _set(stage: Stage, topics: list[str], name: str, value: str) -> None:
    """Set a topic's configuration entry."""
    admin = AdminClient(stage.service.config)
    entries = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)],
        )
        for topic in topics
    ]
    for answer in admin.incremental_alter_configs(entries).values():
        answer.result(30)


@contextmanager
def _worker(stage: Stage, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """One more worker on the service's broker, Ray and database."""
    service = stage.service
    ray = service.folder.require("ray")
    environment = {
        **service.environment,
        **client_environment(service.folder),
        "DATA_DIR": str(stage.folder / f"worker.{name}"),
        "KAFKA_BOOTSTRAP_SERVERS": str(service.folder.require("broker")["bootstrap"]),
        "RAY_ADDRESS": str(ray["address"]),
        "DATABASE_URL": service.settings.store_url,
        "FEATURES_DIR": str(service.settings.features_folder),
        "ARTIFACTS_DIR": str(service.settings.artifacts_folder),
    }
    log = stage.folder / f"worker.{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "worker"], env=environment, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """No space left where the folder lies."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


def _spoil(folder: Path) -> int:
    """Cut off every other file below a folder, and garble the rest; how many."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if number % 2 else bytes(byte ^ 0xA5 for byte in content))
    return len(files)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A disk of its own, so large, where the folder is.

    Raises:
        Skipped: this needs root.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise Skipped("a disk can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder)


FAULTS = (
    Fault(
        1,
        "worker killed around its commit",
        "one row and one answer for each request",
        "commits after the effect",
        worker_killed,
    ),
    Fault(
        2, "broker killed", "every acknowledged request ends, within 60 s they are read", "starts again", broker_killed
    ),
    Fault(
        3,
        f"broker stopped for {STOPPED_SECONDS:g} s",
        "nothing counts as told that is not",
        "waits for acknowledgement",
        broker_stopped,
    ),
    Fault(4, "driver killed amid PBT", "nothing is trained again; the budget is kept", "remembers", driver_killed),
    Fault(5, "Ray's head killed", "searches end, the same versions serve", "starts again", ray_killed),
    Fault(
        6,
        "driver stopped past its lease",
        "the zombie writes nothing",
        "fences",
        driver_stopped,
        lambda folder: {"LEASE_SECONDS": "3"},
    ),
    Fault(
        7,
        "workers join and leave",
        "no request is lost or doubled",
        "commits after the effect",
        workers_come_and_go,
        lambda folder: {"LEASE_SECONDS": "5"},
    ),
    Fault(8, "the same work, asked 1,000 times", "one execution, 1,000 answers", "recognises", asked_a_thousand_times),
    Fault(
        9,
        "database's disk full",
        "told, and nothing acknowledged is lost",
        "commits after the effect",
        database_disk_full,
        lambda folder: {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/data/db/orchestrator.db"},
        {"db": 16},
    ),
    Fault(
        10, "broker's disk full", "nothing acknowledged is lost", "starts again", broker_disk_full, disks={"kafka": 400}
    ),
    Fault(
        11, "files cut off and garbled", "SQLite's is refused as it is, Tune's are not used", "verifies", store_damaged
    ),
    Fault(
        12,
        "trials that misbehave",
        "each fails alone, with its reason",
        "limits",
        trials_misbehave,
        lambda folder: {**install(folder / "plugin"), "TRIAL_SECONDS": "6", "TRIAL_MEMORY_MB": "256"},
    ),
    Fault(
        13,
        "broker refuses what is told",
        "no tick and no event is lost",
        "waits for acknowledgement",
        broker_unreachable_for_producers,
    ),
)
