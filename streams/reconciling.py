"""Compares the experiments that the database has under way with the drivers that run, and mends the difference.

Each pass starts from the database alone, so it does not matter what was lost before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import State
from orchestrator.core.queueing import Calls, Waiting, call, has_expired
from orchestrator.store import experiments, leases, wishes
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
STARTING = timedelta(seconds=120)
"""How long a driver may take to start; from then on it renews its lease itself."""
BEGUN = (State.RUNNING, State.SEARCHED, State.SELECTED)
NOT_BEGUN = (State.ACCEPTED, State.WAITING)


_DIED = Reason(
    code="driver_died",
    message=f"its driver died {LAUNCHES} times without saying why; look at the logs of Ray's workers",
)
_EXPIRED = Reason(
    code="expired",
    where="expires_at",
    message="its turn had not come when it expired; send it again with a later expires_at, or a higher priority",
)


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
        most: experiments that are driven at once; the others wait.
        clock: the time.
        on_failure: called with the error that ends it.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        drivers: Drivers,
        most: int,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._drivers = drivers
        self._most = most
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
        """One pass: what has begun is driven on, and what waits begins in the order of its turn, so many at once."""
        async with self._database.snapshot() as tx:
            given = await leases.of_drivers(tx)
            states = await experiments.standing(tx, given)
        # First, since one that has stopped in the middle of a transaction keeps SQLite's file to itself.
        driven = {
            experiment
            for experiment, standing in given.items()
            if await self._goes_on(standing, cancelled=states.get(experiment) is State.CANCELLED)
        }
        begun, waiting = await self._under_way()
        names = {*(each.id for each in begun), *(each.experiment for each in waiting)}
        driven &= names
        # Accepted again, its drivers that died count no longer.
        new = {each.experiment for each in waiting if each.told is None}
        self._launches = Counter({name: self._launches[name] for name in names - new})
        for name in [each for each, count in self._launches.items() if count >= LAUNCHES and each not in driven]:
            await self._give_up(name)
            names.remove(name)
        undriven = names - driven
        room = self._most - len(driven)
        # What has begun goes on first: its place was never free.
        for name in [each.id for each in begun if each.id in undriven][: max(0, room)]:
            await self._launch(name)
            room -= 1
        calls = call([each for each in waiting if each.experiment in undriven], room, self._clock())
        await self._tell(calls)
        for name in calls.begins:
            await self._launch(name)

    async def _under_way(self) -> tuple[list[Experiment], list[Waiting]]:
        """What drivers are for: what has begun, in the order of its turn, and is over but for what commands wish for of
        it; and what has not. Searches are counted by state."""
        async with self._database.snapshot() as tx:
            # Selected and judged, there is nothing left to do for a driver.
            begun = await experiments.in_states(tx, *BEGUN, unjudged=True)
            wished = await wishes.wished_of(tx)
            waiting = await experiments.waiting(tx)
        counts = Counter(each.state for each in begun)
        for state in BEGUN:
            EXPERIMENTS.labels(state).set(counts[state])
        EXPERIMENTS.labels(State.WAITING).set(len(waiting))
        return [*begun, *wished], waiting

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

    async def _tell(self, calls: Calls) -> None:
        """Tell what waits how many begin before it, and fail what nobody wants any more."""
        if not calls.expired and not calls.positions:
            return

        async def tell(tx: AsyncSession) -> None:
            now = self._clock()
            # In one order, as the intake may lock several of them, too.
            for name in sorted({*calls.expired, *calls.positions}):
                found = await experiments.take(tx, name)
                if found.state not in NOT_BEGUN:
                    continue
                if name in calls.positions:
                    await _told_to_wait(tx, found, calls.positions[name], now)
                elif has_expired(found.expires_at, now):
                    await _fail(tx, found, _EXPIRED, now)

        await self._database.commit(tell)

    async def _launch(self, experiment: str) -> None:
        async with self._database.transaction() as tx:
            name = leases.driver_of(experiment)
            lease = await leases.acquire(tx, name, self._leadership.holder, STARTING)
            traceparent = (await experiments.get(tx, experiment)).traceparent
        if lease is None:
            # Its driver was not heard of, and has been after all.
            return
        await self._drivers.launch(experiment, lease)
        self._launches[experiment] += 1
        log.info("driver_launched", experiment=experiment, epoch=lease.epoch, trace_id=trace_id_of(traceparent or ""))

    async def _give_up(self, experiment: str) -> None:
        async with self._database.transaction() as tx:
            found = await experiments.take(tx, experiment)
            # The last driver may have ended well since the experiment was read.
            if found.verdict is not None:
                await wishes.refuse(tx, experiment, (_DIED,), self._clock())
            elif found.state in (*NOT_BEGUN, *BEGUN):
                await _fail(tx, found, _DIED, self._clock())


async def _told_to_wait(tx: AsyncSession, experiment: Experiment, position: int, now: datetime) -> None:
    event = ExperimentWaiting(
        experiment=experiment.id, request_id=experiment.request_id, sequence=0, emitted_at=now, position=position
    )
    if experiment.state is State.ACCEPTED:
        await experiments.advance(tx, experiment.id, State.WAITING, event, now)
    else:
        await experiments.note(tx, experiment.id, event, now)


async def _fail(tx: AsyncSession, experiment: Experiment, reason: Reason, now: datetime) -> None:
    event = ExperimentFailed(
        experiment=experiment.id, request_id=experiment.request_id, sequence=0, emitted_at=now, reasons=(reason,)
    )
    await experiments.advance(tx, experiment.id, State.FAILED, event, now)
