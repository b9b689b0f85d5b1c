"""Child processes: how one is described, started, stopped, and cleared away whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from streams import tether
from streams.logs import keep_small

Facts = dict[str, str | int]
"""What others must know of a child that runs, such as the address it listens on."""

Report = Callable[[str, str], None]
"""Told a child's name and a sentence about it."""

STRAGGLER_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_TETHER = (sys.executable, "-I", "-S", tether.__file__)


class CannotStart(Exception):
    """A child cannot be started, and trying again would not mend it. The message says what to do."""


@dataclass(frozen=True)
class Launch:
    """How to start a child once: its command and whole environment, and what others must know of it when it is ready.

    `directory` None: that of the one who starts it. `orphaned` is the signal it gets when that one is no more.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    facts: Facts = field(default_factory=dict)
    directory: Path | None = None
    orphaned: signal.Signals = signal.SIGKILL


class Child(Protocol):
    """One kind of child process. The methods may block, and are called from one thread at a time."""

    name: str
    patience: float
    """Seconds until it must be ready."""
    grace: float
    """Seconds from SIGTERM until it is killed."""

    def prepare(self, say: Callable[[str], None]) -> Launch:
        """Write what it needs, choose its ports; `say` tells what takes long. Called before each start.

        Raises:
            CannotStart: and trying again would not mend it.
        """

    def ready(self, launch: Launch, pid: int) -> Facts | None:
        """Its facts once it can be used, else None. Asked several times a second."""

    def clear(self) -> None:
        """Remove what it leaves behind. Called after each end."""


class Spawned:
    """A started child, in a session of its own: Ctrl-C in the terminal reaches only the one that stops it in order.

    It is ended when the thread that called this ends, so that must be a thread that lives as long as the child may.
    Standard output and error are appended to `log`.
    """

    def __init__(self, launch: Launch, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        keep_small(log)
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*_TETHER, str(os.getpid()), str(int(launch.orphaned)), *launch.command],
                env=launch.environment,
                cwd=launch.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it at once, with everything it started."""
        family = self._family()
        self._kill_session()
        _kill(family)

    def stop(self, grace: float) -> bool:
        """Ask it to end, wait, and end what is left of it and of all that it started.

        Returns:
            Whether it ended by itself, within `grace` seconds.
        """
        family = self._family()
        self._popen.terminate()
        try:
            self._popen.wait(grace)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
            family = self._family()
            self.kill()
            self._popen.wait()
        _await_end(family)
        _kill(family)
        self._kill_session()
        _await_end(family)
        return in_time and self.code() != -signal.SIGKILL

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _family(self) -> list[psutil.Process]:
        """All that it started, directly or not, and that still descends from it."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended, and whose parent has not looked yet, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _await_end(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + STRAGGLER_SECONDS
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
