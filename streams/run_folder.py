"""What a running copy records in DATA_DIR, so that its own restarts and other commands find it.

run/lock           held by the one supervisor
run/NAME.json      what a child said when it became ready: its process and its facts; kept after its end, for its ports
run/progress.json  how far the worker is
run/cluster.json   what Ray has, as the worker sees it
run/metrics/       what the children count
logs/NAME.log      what a child wrote
kafka/             the embedded broker's data
ray/               the head's token, and the logs of its last session
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from schemas.base import JsonObject
from streams.child import Facts, alive
from streams.locks import Locked, locked
from streams.progress import Progress

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TOLERANCE_SECONDS = 2.0
"""Both times that `born` is the difference of are told in whole seconds or are read a moment apart."""


class FolderInUse(Exception):
    """Another running copy has the data folder.

    Attributes:
        folder: the data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"{folder} is in use by another running copy; stop it, or set DATA_DIR to a folder of its own")


class NotRunning(Exception):
    """What a command needs does not run on this data folder.

    Attributes:
        name: the child that is missing.
        folder: the data folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        super().__init__(
            f"no {name} runs on {folder}; start one with `orchestrator up`, or set DATA_DIR to where it runs"
        )


@dataclass(frozen=True)
class Record:
    """A child that became ready. `born` and `boot` tell its process from a later one of the same number.

    `born` is in seconds since the machine started, which setting the clock does not change, and `boot` says since which
    of its starts.
    """

    name: str
    pid: int
    born: float
    facts: Facts
    boot: str = ""

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        try:
            process = psutil.Process(self.pid)
            same = self.boot == _boot() and abs(_born(process) - self.born) < _TOLERANCE_SECONDS
            return same and alive(process)
        except psutil.NoSuchProcess:
            return False


class RunFolder:
    """The folders and records of one copy."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir.absolute()
        self.logs = self.path / "logs"
        self.kafka = self.path / "kafka"
        self.ray = self.path / "ray"
        self._run = self.path / "run"
        self.metrics = self._run / "metrics"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder as its one supervisor.

        Raises:
            FolderInUse: another process holds it.
        """
        try:
            with locked(self._run / "lock", wait=False):
                yield
        except Locked as error:
            raise FolderInUse(self.path) from error

    def log(self, name: str) -> Path:
        """Where a child's output goes."""
        return self.logs / f"{name}.log"

    def mark_ready(self, name: str, facts: Facts | None = None, *, pid: int | None = None) -> None:
        """Record that a child can be used.

        Args:
            name: the child.
            facts: what others must know.
            pid: its process; this one unless told.
        """
        pid = os.getpid() if pid is None else pid
        record = Record(name, pid, _born(psutil.Process(pid)), facts or {}, _boot())
        self._write(f"{name}.json", asdict(record))

    def recorded(self, name: str) -> Record | None:
        """What was last recorded of a child, whether it runs or not."""
        content = self._read(f"{name}.json")
        return None if content is None else Record(**content)

    def running(self, name: str) -> Record | None:
        """The record of a child that is ready and runs."""
        record = self.recorded(name)
        return record if record is not None and record.alive else None

    def require(self, name: str) -> Facts:
        """The facts of a child that must run.

        Raises:
            NotRunning: it does not.
        """
        record = self.running(name)
        if record is None:
            raise NotRunning(name, self.path)
        return record.facts

    def mark_progress(self, progress: Progress) -> None:
        """Record how far the worker is."""
        self._write("progress.json", progress.to_json())

    def progress(self) -> Progress | None:
        """How far the worker was when it last said so."""
        content = self._read("progress.json")
        return None if content is None else Progress.from_json(content)

    def mark_cluster(self, facts: JsonObject) -> None:
        """Record what the Ray cluster has."""
        self._write("cluster.json", facts)

    def cluster(self) -> JsonObject | None:
        """What the worker has said last of the Ray cluster."""
        return self._read("cluster.json")

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        aside = self._run / f".{name}.{os.getpid()}"
        aside.write_text(json.dumps(content))
        aside.replace(self._run / name)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads((self._run / name).read_text())
        except FileNotFoundError:
            return None
        return content


def _born(process: psutil.Process) -> float:
    """When a process began, in seconds since the machine started."""
    return process.create_time() - psutil.boot_time()


def _boot() -> str:
    """Which start of the machine this is; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
