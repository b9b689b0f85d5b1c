"""The slot broker: one actor that all experiments of a service share, and that hands out evaluation slots in turn.

Nothing else shares fairly: whoever starts first would otherwise keep every core until it is done.
"""

import asyncio
import time
from typing import Any

import ray

from orchestrator.search.turns import Turns
from schemas.base import Reason

NAME = "evaluation-slots"

Lane = tuple[str, str]
"""A run and one of its lanes."""


class Slots:
    """`Turns`, for lanes that wait for theirs in another process."""

    def __init__(self) -> None:
        self._turns: Turns[Any] = Turns(slots=1, cpus=1.0)
        self._waiting: dict[Lane, asyncio.Future[list[Any] | None]] = {}
        self._begun: dict[str, list[int]] = {}
        self._blame: dict[Lane, Reason] = {}

    async def open(self, run: str, cpus: float, slots: int, available: float) -> None:
        """A run begins, of jobs of `cpus` cores; `slots` and `available` cores are the cluster's as seen now."""
        self._turns.slots, self._turns.cpus = slots, available
        self._turns.open(run, cpus)
        self._begun[run] = []

    async def offer(self, run: str, jobs: list[tuple[int, Any]], first: bool = False) -> None:
        """Numbered references to jobs of a run."""
        self._turns.offer(run, jobs, first=first)
        self._grant()

    async def take(self, run: str, lane: str) -> list[Any] | None:
        """The next job of a lane, as a list of its reference, when it is the run's turn; None: the run is over."""
        if not self._turns.wait(run, lane):
            return None
        future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting[run, lane] = future
        self._grant()
        return await future

    async def beat(self, run: str, lane: str) -> None:
        """The lane lives."""
        self._turns.beat(run, lane, time.monotonic())
        self._grant()

    async def blame(self, run: str, lane: str, reason: Reason) -> None:
        """The lane is about to end itself for this reason."""
        self._blame[run, lane] = reason

    async def lost(self, run: str, lane: str) -> tuple[int | None, Reason | None]:
        """The lane is gone: the number of the job that it had, and what it had said of it."""
        job = self._turns.lost(run, lane)
        self._waiting.pop((run, lane), None)
        self._grant()
        return None if job is None else job[0], self._blame.pop((run, lane), None)

    async def begun(self, run: str) -> list[int]:
        """Numbers of the jobs that have been taken up since last asked."""
        taken, self._begun[run] = self._begun.get(run, []), []
        return taken

    async def close(self, run: str) -> None:
        """The run is over: its lanes may go."""
        for lane in self._turns.close(run):
            self._answer(run, lane, None)
        self._begun.pop(run, None)
        self._grant()

    def _grant(self) -> None:
        for grant in self._turns.grants(time.monotonic()):
            number, reference = grant.job
            self._begun[grant.run].append(number)
            self._answer(grant.run, grant.lane, [reference])

    def _answer(self, run: str, lane: str, answer: list[Any] | None) -> None:
        future = self._waiting.pop((run, lane), None)
        if future is not None and not future.done():
            future.set_result(answer)


def broker(namespace: str) -> Any:
    """The handle of the namespace's broker, which is started where there is none."""
    actor = ray.remote(Slots).options(
        name=NAME, namespace=namespace, lifetime="detached", get_if_exists=True, num_cpus=0, max_restarts=-1
    )
    return actor.remote()
