"""Taking turns: which experiment's job is evaluated next, and by whom. Pure: the time is an argument."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")

PATIENCE = 30.0
"""Seconds without a sign of life after which a lane's slot is given to another."""


@dataclass
class _Run(Generic[Work]):
    pool: str
    cpus: float
    jobs: deque[Work] = field(default_factory=deque)
    held: dict[str, Work] = field(default_factory=dict)
    """By lane the job that it evaluates."""
    alive: dict[str, float] = field(default_factory=dict)
    """When a lane that has a job was last heard of; one that has been quiet for too long is left out."""
    served: int = 0
    """When it last got a slot, counted in grants."""


@dataclass(frozen=True)
class Grant(Generic[Work]):
    """A lane may evaluate a job of a run now."""

    run: str
    lane: str
    job: Work


class Turns(Generic[Work]):
    """Hands out evaluation slots: the run that holds the fewest cores is next, of equals the one that waited longest.

    A run is one experiment's search. A lane is a worker of a pool, and evaluates jobs of any run that asks for this
    pool. A lane that asks again gives back what it had.

    Args:
        slots: jobs evaluated at once, at most.
        cpus: cores for them; a job that needs more than there are runs alone.
    """

    def __init__(self, slots: int, cpus: float) -> None:
        self.slots = slots
        self.cpus = cpus
        self._runs: dict[str, _Run[Work]] = {}
        self._waiting: dict[str, deque[str]] = {}
        """By pool the lanes without a job, longest first."""
        self._grants = 0

    @property
    def runs(self) -> frozenset[str]:
        """Those that are open."""
        return frozenset(self._runs)

    def open(self, run: str, cpus: float, pool: str) -> None:
        """A run begins, of jobs that take so many cores each, in lanes of a pool."""
        self._runs[run] = _Run(pool, cpus)

    def close(self, run: str) -> None:
        """A run is over, if it was open; what lanes still have of it is nobody's."""
        self._runs.pop(run, None)

    def offer(self, run: str, jobs: Iterable[Work], *, first: bool = False) -> None:
        """Jobs of a run, behind those that it has, or before them."""
        queue = self._runs[run].jobs
        queue.extendleft(reversed(list(jobs))) if first else queue.extend(jobs)

    def wait(self, lane: str, pool: str) -> None:
        """A lane is free."""
        self.lost(lane)
        self._waiting.setdefault(pool, deque()).append(lane)

    def lost(self, lane: str) -> tuple[str, Work] | None:
        """A lane is gone, or has ended its job: that job, and its run; None: it had none of a run that is open."""
        for waiting in self._waiting.values():
            if lane in waiting:
                waiting.remove(lane)
        for name, run in self._runs.items():
            if lane in run.held:
                run.alive.pop(lane, None)
                return name, run.held.pop(lane)
        return None

    def beat(self, lane: str, now: float) -> bool:
        """A lane that has a job lives. False: nobody waits for that job any more."""
        for run in self._runs.values():
            if lane in run.held:
                run.alive[lane] = now
                return True
        return False

    def grants(self, now: float) -> list[Grant[Work]]:
        """Everybody who may begin now."""
        self._expire(now)
        granted: list[Grant[Work]] = []
        while (name := self._next()) is not None:
            run = self._runs[name]
            lane, job = self._waiting[run.pool].popleft(), run.jobs.popleft()
            self._grants += 1
            run.served, run.held[lane], run.alive[lane] = self._grants, job, now
            granted.append(Grant(name, lane, job))
        return granted

    def _next(self) -> str | None:
        ready = [name for name, run in self._runs.items() if run.jobs and self._waiting.get(run.pool)]
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
