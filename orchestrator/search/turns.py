"""Taking turns: which experiment's worker may evaluate next. Pure: the time is an argument."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")

PATIENCE = 30.0
"""Seconds without a sign of life after which a worker's slot is given to somebody else."""


@dataclass
class _Run(Generic[Work]):
    cpus: float
    jobs: deque[Work] = field(default_factory=deque)
    waiting: deque[str] = field(default_factory=deque)
    """Lanes without a job, longest first."""
    held: dict[str, Work] = field(default_factory=dict)
    """The job of each lane that has one."""
    alive: dict[str, float] = field(default_factory=dict)
    """When a lane that has a job was last heard of; one that has been quiet for too long is left out."""
    served: int = 0
    """When it last got a slot, counted in grants."""


@dataclass(frozen=True)
class Grant(Generic[Work]):
    """A lane of a run may evaluate a job now."""

    run: str
    lane: str
    job: Work


class Turns(Generic[Work]):
    """Hands out evaluation slots: who holds the fewest cores is next, among equals who has waited longest.

    A run is one experiment's search, a lane one of its workers. A lane that asks again gives back what it had.

    Args:
        slots: jobs evaluated at once, at most.
        cpus: cores for them; a job that needs more than there are runs alone.
    """

    def __init__(self, slots: int, cpus: float) -> None:
        self.slots = slots
        self.cpus = cpus
        self._runs: dict[str, _Run[Work]] = {}
        self._grants = 0

    def open(self, run: str, cpus: float) -> None:
        """A run begins, of jobs that take so many cores each."""
        self._runs[run] = _Run(cpus)

    def close(self, run: str) -> tuple[str, ...]:
        """A run is over; its lanes that were waiting."""
        closed = self._runs.pop(run, None)
        return () if closed is None else tuple(closed.waiting)

    def offer(self, run: str, jobs: Iterable[Work], *, first: bool = False) -> None:
        """Jobs of a run, behind those that it has, or before them."""
        queue = self._runs[run].jobs
        queue.extendleft(reversed(list(jobs))) if first else queue.extend(jobs)

    def wait(self, run: str, lane: str) -> bool:
        """A lane is free. False: its run is over."""
        if run not in self._runs:
            return False
        self.lost(run, lane)
        self._runs[run].waiting.append(lane)
        return True

    def lost(self, run: str, lane: str) -> Work | None:
        """A lane is gone, or has asked again; the job that it had."""
        if (found := self._runs.get(run)) is None:
            return None
        if lane in found.waiting:
            found.waiting.remove(lane)
        found.alive.pop(lane, None)
        return found.held.pop(lane, None)

    def beat(self, run: str, lane: str, now: float) -> None:
        """A lane that has a job lives."""
        if (found := self._runs.get(run)) is not None and lane in found.held:
            found.alive[lane] = now

    def grants(self, now: float) -> list[Grant[Work]]:
        """Everybody who may begin now."""
        self._expire(now)
        granted: list[Grant[Work]] = []
        while (name := self._next()) is not None:
            run = self._runs[name]
            lane, job = run.waiting.popleft(), run.jobs.popleft()
            self._grants += 1
            run.served, run.held[lane], run.alive[lane] = self._grants, job, now
            granted.append(Grant(name, lane, job))
        return granted

    def _next(self) -> str | None:
        ready = [name for name, run in self._runs.items() if run.jobs and run.waiting]
        if not ready:
            return None
        chosen = min(ready, key=lambda name: (self._cores(self._runs[name]), self._runs[name].served))
        busy = sum(len(run.alive) for run in self._runs.values())
        free = self.cpus - sum(map(self._cores, self._runs.values()))
        # Who is next waits until its job fits, instead of being overtaken by smaller ones for ever.
        return chosen if not busy or (busy < self.slots and self._runs[chosen].cpus <= free) else None

    @staticmethod
    def _cores(run: _Run[Work]) -> float:
        return len(run.alive) * run.cpus

    def _expire(self, now: float) -> None:
        for run in self._runs.values():
            for lane in [lane for lane, heard in run.alive.items() if now - heard > PATIENCE]:
                del run.alive[lane]
