"""Compares the experiments that the database has under way with the drivers that run, and mends the difference.

Each pass starts from the database alone, so it does not matter what was lost before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments
from orchestrator.store.database import Database
from orchestrator.store.experiments import Experiment
from schemas.base import Reason
from schemas.experiments import ExperimentFailed, ExperimentWaiting
from schemas.trace_context import trace_id_of
from streams.metrics import EXPERIMENTS
from streams.repeating import OnFailure, Repeating

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
LAUNCHES = 3
"""A driver that dies this often without saying why is not launched again."""
MOST_DRIVERS = 8
"""Drivers at once: each is a process with an experiment's features in memory. The other experiments wait."""
DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED)


class Drivers(Protocol):
    """Whoever drives experiments."""

    async def launch(self, experiment: str) -> bool:
        """See that a driver runs; True when one had to be started."""
        ...

    async def alive(self, experiment: str) -> bool:
        """Whether a driver runs."""
        ...


class Reconciler(Repeating):
    """Runs passes, one at a time, when something is new and at least every second."""

    def __init__(
        self, *, database: Database, drivers: Drivers, clock: Callable[[], datetime], on_failure: OnFailure
    ) -> None:
        super().__init__(on_failure)
        self._database = database
        self._drivers = drivers
        self._clock = clock
        self._new = asyncio.Event()
        self._launches: Counter[str] = Counter()

    def wake(self) -> None:
        """Something is new: do not wait for the next pass."""
        self._new.set()

    async def turn(self) -> None:
        """One pass, then rest until something is new."""
        self._new.clear()
        await self.reconcile()
        await self.pause(PAUSE_SECONDS, until=self._new)

    async def reconcile(self) -> None:
        """One pass: experiments are queued, and driven in the order of their turn, so many at once."""
        await self._queue()
        async with self._database.snapshot() as tx:
            # Selected and judged, there is nothing left to do for a driver.
            undriven = await experiments.in_states(tx, *DRIVEN, unjudged=True)
        counts = Counter(each.state for each in undriven)
        for state in DRIVEN:
            EXPERIMENTS.labels(state).set(counts[state])
        begun = [each.id for each in undriven if self._has_begun(each)]
        alive = {experiment for experiment in begun if await self._drivers.alive(experiment)}
        for experiment in undriven:
            if experiment.id not in alive:
                if self._launches[experiment.id] >= LAUNCHES:
                    await self._give_up(experiment)
                    continue
                if len(alive) >= MOST_DRIVERS:
                    continue
                alive.add(experiment.id)
            await self._launch(experiment)

    def _has_begun(self, experiment: Experiment) -> bool:
        return experiment.state is not State.WAITING or experiment.id in self._launches

    async def _queue(self) -> None:
        """What was accepted waits from now on, and is told how many wait before it."""
        async with self._database.snapshot() as tx:
            found = await experiments.in_states(tx, State.ACCEPTED, State.WAITING)
        queue = [experiment for experiment in found if experiment.id not in self._launches]
        if not any(experiment.state is State.ACCEPTED for experiment in queue):
            return
        async with self._database.transaction() as tx:
            for position, experiment in enumerate(queue):
                if experiment.state is State.ACCEPTED:
                    event = ExperimentWaiting(
                        experiment=experiment.id,
                        request_id=experiment.request_id,
                        sequence=0,
                        emitted_at=self._clock(),
                        position=position,
                    )
                    await experiments.advance(tx, experiment.id, State.WAITING, event, self._clock())

    async def _launch(self, experiment: Experiment) -> None:
        """See that a driver runs, also where one was alive: whoever launched it may have died before asking it."""
        if await self._drivers.launch(experiment.id):
            self._launches[experiment.id] += 1
            trace = trace_id_of(experiment.traceparent or "")
            log.info("driver_launched", experiment=experiment.id, launch=self._launches[experiment.id], trace_id=trace)

    async def _give_up(self, experiment: Experiment) -> None:
        message = f"its driver died {LAUNCHES} times without saying why; look at the logs of Ray's workers"
        event = ExperimentFailed(
            experiment=experiment.id,
            request_id=experiment.request_id,
            sequence=0,
            emitted_at=self._clock(),
            reasons=(Reason(code="driver_died", message=message),),
        )
        async with self._database.transaction() as tx:
            current = await experiments.take(tx, experiment.id)
            # The last driver may have ended well since the experiment was read.
            if current.state in DRIVEN and current.verdict is None:
                await experiments.advance(tx, experiment.id, State.FAILED, event, self._clock())
