"""Compares the experiments that the database has under way with the drivers that run, and mends the difference.

Each pass starts from the database alone, so it does not matter what was lost before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, leases
from orchestrator.store.experiments import Experiment
from orchestrator.store.leases import Lease, Standing
from schemas.base import Reason
from schemas.experiments import ExperimentFailed, ExperimentWaiting
from schemas.trace_context import trace_id_of
from streams.leading import Leadership, Leading
from streams.metrics import EXPERIMENTS
from streams.repeating import OnFailure

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
LAUNCHES = 3
"""A driver that dies this often without saying why is not launched again."""
MOST_DRIVERS = 8
"""Drivers at once: each is a process with an experiment's features in memory. The other experiments wait."""
STARTING = timedelta(seconds=120)
"""How long a driver may take to start; from then on it renews its lease itself."""
DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED)


class Drivers(Protocol):
    """Whoever drives experiments."""

    async def launch(self, experiment: str, lease: Lease) -> None:
        """Have a driver lead the experiment, without waiting for it; it keeps the lease from then on."""
        ...

    async def alive(self, lease: Lease) -> bool:
        """Whether there is a driver of this lease; one that has stopped is there."""
        ...

    async def end(self, lease: Lease) -> None:
        """End the driver of this lease, if there is one; it is not waited for."""
        ...


class Reconciler(Leading):
    """Runs passes, one at a time, when something is new and at least every second; of all workers, one does.

    Args:
        leadership: of the worker that launches drivers.
        drivers: launches them.
        clock: the time.
        on_failure: called with the error that ends it.
    """

    def __init__(
        self, *, leadership: Leadership, drivers: Drivers, clock: Callable[[], datetime], on_failure: OnFailure
    ) -> None:
        super().__init__(leadership, on_failure)
        self._drivers = drivers
        self._clock = clock
        self._new = asyncio.Event()
        self._launches: Counter[str] = Counter()

    def wake(self) -> None:
        """Something is new: do not wait for the next pass."""
        self._new.set()

    async def act(self) -> None:
        """One pass, then rest until something is new."""
        self._new.clear()
        await self.reconcile()
        await self.pause(PAUSE_SECONDS, until=self._new)

    async def stand_by(self) -> None:
        """Count, for whoever asks this worker."""
        await self._under_way()

    async def reconcile(self) -> None:
        """One pass: experiments are queued, and driven in the order of their turn, so many at once."""
        async with self._database.snapshot() as tx:
            given = await leases.of_drivers(tx)
            states = await experiments.standing(tx, given)
        # First, since one that has stopped in the middle of a transaction keeps SQLite's file to itself.
        driven = {
            experiment
            for experiment, standing in given.items()
            if await self._goes_on(standing, cancelled=states.get(experiment) is State.CANCELLED)
        }
        await self._queue()
        undriven = await self._under_way()
        driven &= {each.id for each in undriven}
        for experiment in undriven:
            if experiment.id in driven:
                continue
            if self._launches[experiment.id] >= LAUNCHES:
                await self._give_up(experiment)
            elif len(driven) < MOST_DRIVERS:
                await self._launch(experiment)
                driven.add(experiment.id)

    async def _under_way(self) -> list[Experiment]:
        """What drivers are for, counted by state, in the order of their turn."""
        async with self._database.snapshot() as tx:
            # Selected and judged, there is nothing left to do for a driver.
            found = await experiments.in_states(tx, *DRIVEN, unjudged=True)
        counts = Counter(each.state for each in found)
        for state in DRIVEN:
            EXPERIMENTS.labels(state).set(counts[state])
        return found

    async def _goes_on(self, standing: Standing, *, cancelled: bool) -> bool:
        """Whether a driver lives and is heard of; if not, its experiment is free for another one."""
        alive = await self._drivers.alive(standing.lease)
        if alive and standing.in_force and not cancelled:
            return True
        if cancelled:
            log.info("driver_cancelled", lease=standing.lease.name, epoch=standing.lease.epoch)
            await self._drivers.end(standing.lease)
        elif alive:
            # It has stopped, or does not reach the database: it is in the way, though it can write nothing any more.
            log.warning("driver_not_heard_of", lease=standing.lease.name, epoch=standing.lease.epoch)
            await self._drivers.end(standing.lease)
        async with self._database.transaction() as tx:
            await leases.release(tx, standing.lease)
        return False

    async def _queue(self) -> None:
        """What was accepted waits from now on, and is told how many wait before it."""
        async with self._database.snapshot() as tx:
            found = await experiments.in_states(tx, State.ACCEPTED, State.WAITING)
        for experiment in found:
            if experiment.state is State.ACCEPTED:
                # Resumed, its drivers that died count no longer.
                self._launches.pop(experiment.id, None)
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
        name = leases.driver_of(experiment.id)
        async with self._database.transaction() as tx:
            lease = await leases.acquire(tx, name, self._leadership.holder, STARTING)
        if lease is None:
            # Its driver was not heard of, and has been after all.
            return
        await self._drivers.launch(experiment.id, lease)
        self._launches[experiment.id] += 1
        trace = trace_id_of(experiment.traceparent or "")
        log.info("driver_launched", experiment=experiment.id, epoch=lease.epoch, trace_id=trace)

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
