"""The slot broker: one actor between all experiments of a service and the lanes that evaluate their jobs, in turn.

Nothing else shares fairly: whoever starts first would otherwise keep every core until it is done.
"""

import asyncio
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.search.turns import Turns
from schemas.base import Reason

NAME = "evaluation-slots"
DRIVER_PATIENCE = 120.0
"""Seconds for which a run that nobody listens to goes on: thinking up what to try next may take a while."""
IDLE_DEATHS = 10
"""Lanes of a pool that may die in a row with none asking for a job: then it is not a trial that kills them."""


@dataclass(frozen=True)
class Begun:
    """A lane has taken the job up."""

    job: int


@dataclass(frozen=True)
class Done:
    """The job's outcomes, in Ray's object store."""

    job: int
    outcomes: "list[ray.ObjectRef[Any]]"
    """One: in a list, so that the reference travels instead of what it is to."""


@dataclass(frozen=True)
class Lost:
    """The lane that had the job is gone: what it had said before, or else what is known of its end."""

    job: int
    blame: Reason | None
    error: str


@dataclass(frozen=True)
class Broken:
    """No lane gets as far as to ask for a job."""

    error: str


Heard = Begun | Done | Lost | Broken


@dataclass(frozen=True)
class Turn:
    """A job for a lane, and what all jobs of its run share, each as a list of one reference."""

    run: str
    work: "list[ray.ObjectRef[Any]]"
    job: int
    steps: "list[ray.ObjectRef[Any]]"


Job = tuple[int, "ray.ObjectRef[Any]"]
Finished = tuple[str, int, "list[ray.ObjectRef[Any]]"]
"""Run, job, outcomes."""


@dataclass
class _Driver:
    """The listener of a run."""

    work: "list[ray.ObjectRef[Any]]"
    pool: str
    heard: list[Heard] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    listened: float = field(default_factory=time.monotonic)

    def tell(self, what: Heard) -> None:
        self.heard.append(what)
        self.news.set()


class Slots:
    """`Turns`, between drivers and lanes in other processes. Where it dies, drivers open their runs again."""

    def __init__(self) -> None:
        self._turns: Turns[Job] = Turns(slots=1, cpus=1.0)
        self._drivers: dict[str, _Driver] = {}
        self._asking: dict[str, asyncio.Future[Turn | None]] = {}
        self._blame: dict[str, Reason] = {}
        self._deaths: Counter[str] = Counter()

    async def open(
        self, run: str, work: "list[ray.ObjectRef[Any]]", cpus: float, pool: str, slots: int, available: float
    ) -> None:
        """A run begins, of jobs of `cpus` cores; `slots` and `available` cores are the cluster's as seen now."""
        self._turns.slots, self._turns.cpus = slots, available
        # Whoever led the experiment before is dead, or past its lease.
        await self.stop(experiment_of(run), but=run)
        self._turns.open(run, cpus, pool)
        self._drivers[run] = _Driver(work, pool)

    async def offer(self, run: str, jobs: list[Job], first: bool = False) -> bool:
        """Numbered references to jobs of a run. False: it is not known."""
        if run not in self._drivers:
            return False
        self._turns.offer(run, jobs, first=first)
        self._grant()
        return True

    async def hear(self, run: str, seconds: float) -> list[Heard] | None:
        """What has become of the run's jobs, oldest first, as soon as there is something. None: it is not known."""
        if (driver := self._drivers.get(run)) is None:
            return None
        with suppress(TimeoutError):
            await asyncio.wait_for(driver.news.wait(), seconds)
        heard, driver.heard = driver.heard, []
        driver.news.clear()
        driver.listened = time.monotonic()
        return heard

    async def close(self, run: str) -> None:
        """The run is over. What lanes still evaluate of it is not waited for."""
        self._turns.close(run)
        self._drivers.pop(run, None)
        self._grant()
        # Lanes that wait let go of what they have prepared for it.
        for lane in list(self._asking):
            self._answer(lane, None)

    async def stop(self, experiment: str, but: str = "") -> None:
        """Close every run of an experiment, whoever leads it, but this one."""
        for run in [run for run in self._drivers if experiment_of(run) == experiment and run != but]:
            await self.close(run)

    async def take(self, lane: str, pool: str, finished: Finished | None = None) -> tuple[Turn | None, frozenset[str]]:
        """A lane is free, and has finished a job before: its next one, when there is one for it, and the open runs.

        None in place of a job: ask again.
        """
        self._deaths[pool] = 0
        if finished is not None:
            run, job, outcomes = finished
            self._turns.lost(lane)
            if run in self._drivers:
                self._drivers[run].tell(Done(job, outcomes))
        else:
            self._let_go(lane, "it ended and was started again")
        self._turns.wait(lane, pool)
        self._asking[lane] = asyncio.get_running_loop().create_future()
        asked = self._asking[lane]
        self._grant()
        return await asked, self._turns.runs

    async def beat(self, lane: str) -> bool:
        """The lane lives. False: nobody waits for what it does."""
        wanted = self._turns.beat(lane, time.monotonic())
        self._grant()
        return wanted

    async def blame(self, lane: str, reason: Reason) -> None:
        """The lane is about to end itself for this reason."""
        self._blame[lane] = reason

    async def lost(self, lane: str, pool: str, error: str) -> None:
        """The lane is gone."""
        self._answer(lane, None)
        if not self._let_go(lane, error):
            self._deaths[pool] += 1
            if self._deaths[pool] > IDLE_DEATHS:
                await self.broken(pool, error)
        self._grant()

    async def broken(self, pool: str, error: str) -> None:
        """Lanes of the pool do not get as far as to ask for a job."""
        for driver in self._drivers.values():
            if driver.pool == pool:
                driver.tell(Broken(error))

    def _let_go(self, lane: str, error: str) -> bool:
        """Tell of the job that a lane had; whether it had one."""
        blame = self._blame.pop(lane, None)
        if (held := self._turns.lost(lane)) is None:
            return False
        run, (job, _) = held
        self._drivers[run].tell(Lost(job, blame, error))
        return True

    def _grant(self) -> None:
        now = time.monotonic()
        for run, driver in list(self._drivers.items()):
            if now - driver.listened > DRIVER_PATIENCE:
                self._turns.close(run)
                del self._drivers[run]
        for grant in self._turns.grants(now):
            number, steps = grant.job
            driver = self._drivers[grant.run]
            driver.tell(Begun(number))
            self._answer(grant.lane, Turn(grant.run, driver.work, number, [steps]))

    def _answer(self, lane: str, turn: Turn | None) -> None:
        asked = self._asking.pop(lane, None)
        if asked is not None and not asked.done():
            asked.set_result(turn)


def run_of(experiment: str) -> str:
    """A name for one more run of an experiment."""
    return f"{experiment}.{uuid.uuid4().hex[:8]}"


def experiment_of(run: str) -> str:
    """Whose run it is."""
    return run.rpartition(".")[0] or run


def broker(namespace: str) -> Any:
    """The handle of the namespace's broker, which is started where there is none."""
    actor = ray.remote(Slots).options(
        name=NAME,
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=1000,
    )
    return actor.remote()
