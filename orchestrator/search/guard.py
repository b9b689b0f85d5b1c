"""A lane's guard: tells the slot broker that it lives, and ends it when a trial breaks its limits or is not wanted."""

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import psutil
import ray

from schemas.base import Reason

BEAT_SECONDS = 2.0
LOOK_SECONDS = 0.1
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Of one trial. What its worker has before does not count, nor what it shares with others."""

    seconds: float
    memory_mib: int


@dataclass(frozen=True)
class _Job:
    limits: Limits
    trials: int
    began: float
    """By the monotonic clock."""
    memory: int
    """That the process had then."""


class Guard:
    """Watches over one lane from a thread of its own.

    A compiled fit cannot be interrupted: what breaks a limit, or what nobody waits for any more, is ended with its
    process. The broker is told of limits first.
    """

    def __init__(self, slots: Any, lane: str) -> None:
        self._slots, self._lane = slots, lane
        self._process = psutil.Process()
        self._job: _Job | None = None
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def begin(self, trials: int, limits: Limits) -> None:
        """A job of so many trials begins; together they have the time of all of them."""
        self._job = _Job(limits, trials, time.monotonic(), self._memory())

    def end(self) -> None:
        """It is over."""
        self._job = None

    def _watch(self) -> None:
        told, beat, beaten = 0.0, None, None
        while True:
            time.sleep(LOOK_SECONDS)
            job, now = self._job, time.monotonic()
            if job is None:
                continue
            if (reason := self._broken(job, now)) is not None:
                ray.get(self._slots.blame.remote(self._lane, reason), timeout=BEAT_SECONDS)
                os._exit(1)
            if beat is not None and ray.wait([beat], timeout=0)[0]:
                # The answer to a job that has ended meanwhile says nothing of the next.
                if not ray.get(beat) and beaten is job:
                    os._exit(1)
                beat = None
            if beat is None and now - max(told, job.began) >= BEAT_SECONDS:
                told, beat, beaten = now, self._slots.beat.remote(self._lane), job

    def _broken(self, job: _Job, now: float) -> Reason | None:
        limits, used = job.limits, (self._memory() - job.memory) / MIB
        if now - job.began > limits.seconds * job.trials:
            message = f"training took longer than {limits.seconds:g} s; lower its budget, or raise TRIAL_SECONDS"
            return Reason(code="out_of_time", message=message)
        if used > limits.memory_mib:
            message = f"training took {used:.0f} MiB, {limits.memory_mib} are allowed; raise TRIAL_MEMORY_MB"
            return Reason(code="out_of_memory", message=message)
        return None

    def _memory(self) -> int:
        memory = self._process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
