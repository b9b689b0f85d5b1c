"""A worker's guard: tells the slot broker that it lives, and ends it when a trial breaks its limits."""

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import psutil
import ray

from schemas.base import Reason

BEAT_SECONDS = 5.0
LOOK_SECONDS = 0.1
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Of one trial. What a worker has before its first trial does not count, nor what it shares with others."""

    seconds: float
    memory_mib: int


class Guard:
    """Watches over one lane of a run from a thread of its own.

    A compiled fit cannot be interrupted: what breaks a limit is ended with its process, and the broker is told why.
    """

    def __init__(self, slots: Any, run: str, lane: str, limits: Limits) -> None:
        self._slots, self._run, self._lane, self._limits = slots, run, lane, limits
        self._process = psutil.Process()
        self._own = self._memory()
        self._began: float | None = None
        self._trials = 1
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def begin(self, trials: int) -> None:
        """A job of so many trials begins; together they have the time of all of them."""
        self._trials, self._began = trials, time.monotonic()

    def end(self) -> None:
        """It is over."""
        self._began = None

    def _watch(self) -> None:
        told = 0.0
        while True:
            time.sleep(LOOK_SECONDS)
            began, now = self._began, time.monotonic()
            if began is None:
                continue
            if now - told >= BEAT_SECONDS:
                told = now
                self._slots.beat.remote(self._run, self._lane)
            if (reason := self._broken(now - began)) is not None:
                ray.get(self._slots.blame.remote(self._run, self._lane, reason), timeout=BEAT_SECONDS)
                os._exit(1)

    def _broken(self, seconds: float) -> Reason | None:
        limits, used = self._limits, (self._memory() - self._own) / MIB
        if seconds > limits.seconds * self._trials:
            message = f"training took longer than {limits.seconds:g} s; lower its budget, or raise TRIAL_SECONDS"
            return Reason(code="out_of_time", message=message)
        if used > limits.memory_mib:
            message = f"training took {used:.0f} MiB, {limits.memory_mib} are allowed; raise TRIAL_MEMORY_MB"
            return Reason(code="out_of_memory", message=message)
        return None

    def _memory(self) -> int:
        memory = self._process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
