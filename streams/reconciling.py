"""Compares what the database wants with what runs, and mends the difference.

Drivers are launched for experiments that nobody drives, and ensemble versions that are wanted, or were served before
Ray went away, are deployed. Each pass starts from the database alone, so it does not matter what was lost before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, experiments
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from schemas.base import Reason
from schemas.experiments import ExperimentFailed, ExperimentWaiting
from schemas.trace_context import trace_id_of
from serving.deployer import DeployFailed
from serving.version import ServedVersion
from streams.metrics import EXPERIMENTS, SERVING_VERSION
from streams.repeating import OnFailure, Repeating
from streams.routes import Route, Routes

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
PASSES_BETWEEN_LOOKS = 5
"""Ray Serve is asked what answers only so often: it costs more than a look into the database."""
LAUNCHES = 3
"""A driver that dies this often without saying why is not launched again."""
DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED)


class Serving(Protocol):
    """Whoever makes versions answer."""

    async def deploy(self, wanted: ServedVersion) -> None:
        """Serve a version and return when it answers.

        Raises:
            DeployFailed: it cannot be served, and why.
        """
        ...

    async def serving(self) -> dict[str, ServedVersion]:
        """The version that answers, by ensemble."""
        ...


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
        self,
        *,
        database: Database,
        serving: Serving,
        drivers: Drivers,
        routes: Routes,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        passes_between_looks: int = PASSES_BETWEEN_LOOKS,
    ) -> None:
        super().__init__(on_failure)
        self._passes_between_looks = passes_between_looks
        self._database = database
        self._serving = serving
        self._drivers = drivers
        self._routes = routes
        self._clock = clock
        self._new = asyncio.Event()
        self._launches: Counter[str] = Counter()
        self._passes = 0

    def wake(self) -> None:
        """Something is new: do not wait for the next pass."""
        self._new.set()

    async def turn(self) -> None:
        """One pass, then rest until something is new."""
        self._new.clear()
        await self.reconcile()
        await self.pause(PAUSE_SECONDS, until=self._new)

    async def reconcile(self) -> None:
        """One pass."""
        await self._serve()
        await self._drive()

    async def _serve(self) -> None:
        async with self._database.snapshot() as tx:
            deployed, wanted = await ensembles.deployed(tx), await ensembles.wanted(tx)
        current = {version.ensemble: version for version in deployed}
        if deployed and self._passes % self._passes_between_looks == 0:
            # One whose successor waits is left to it: the successor may answer already, and only not be told of yet.
            successors = {version.ensemble for version in wanted}
            await self._restore([version for version in deployed if version.ensemble not in successors])
        self._passes += 1
        self._route(current.values())
        for version in wanted:
            if await self._deploy(version, current):
                current[version.ensemble] = version

    async def _restore(self, versions: Iterable[Version]) -> None:
        """Serve again what was served, where Ray has lost it; where that fails it is tried again later."""
        answering = await self._serving.serving()
        for version in versions:
            if answering.get(version.ensemble) == served(version):
                continue
            log.warning("version_is_not_served", ensemble=version.ensemble, version=version.version)
            try:
                await self._serving.deploy(served(version))
            except DeployFailed as error:
                log.error("version_cannot_be_restored", ensemble=version.ensemble, reasons=_told(error.reasons))

    async def _deploy(self, version: Version, current: Mapping[str, Version]) -> bool:
        try:
            await self._serving.deploy(served(version))
        except DeployFailed as error:
            log.error("deployment_failed", ensemble=version.ensemble, reasons=_told(error.reasons))
            async with self._database.transaction() as tx:
                await ensembles.mark_failed(tx, version.ensemble, version.version, error.reasons, self._clock())
            return False
        # Routed before it is told: whoever hears `deployed` may send a tick at once.
        self._route([*(each for each in current.values() if each.ensemble != version.ensemble), version])
        async with self._database.transaction() as tx:
            await ensembles.mark_deployed(tx, version.ensemble, version.version, self._clock())
        log.info("deployed", ensemble=version.ensemble, version=version.version, experiment=version.experiment)
        return True

    def _route(self, versions: Iterable[Version]) -> None:
        routes = []
        for version in versions:
            routes.append(Route(version.ensemble, frozenset(version.tickers), version.timeframe, version.mode))
            SERVING_VERSION.labels(version.ensemble).set(version.version)
        self._routes.replace(routes)

    async def _drive(self) -> None:
        async with self._database.snapshot() as tx:
            accepted = await experiments.in_states(tx, State.ACCEPTED)
        if accepted:
            await self._queue(accepted)
        async with self._database.snapshot() as tx:
            # Selected and judged, there is nothing left to do for a driver.
            undriven = await experiments.in_states(tx, *DRIVEN, unjudged=True)
        counts = Counter(each.state for each in undriven)
        for state in DRIVEN:
            EXPERIMENTS.labels(state).set(counts[state])
        for experiment in undriven:
            await self._launch(experiment)

    async def _queue(self, accepted: Sequence[Experiment]) -> None:
        async with self._database.transaction() as tx:
            for position, experiment in enumerate(accepted):
                event = ExperimentWaiting(
                    experiment=experiment.id,
                    request_id=experiment.request_id,
                    sequence=0,
                    emitted_at=self._clock(),
                    position=position,
                )
                await experiments.advance(tx, experiment.id, State.WAITING, event, self._clock())

    async def _launch(self, experiment: Experiment) -> None:
        if self._launches[experiment.id] >= LAUNCHES and not await self._drivers.alive(experiment.id):
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
        elif await self._drivers.launch(experiment.id):
            self._launches[experiment.id] += 1
            trace = trace_id_of(experiment.traceparent or "")
            log.info("driver_launched", experiment=experiment.id, launch=self._launches[experiment.id], trace_id=trace)


def served(version: Version) -> ServedVersion:
    """What Ray Serve is told of a version."""
    return ServedVersion(
        ensemble=version.ensemble,
        version=version.version,
        digest=version.digest,
        mode=version.mode,
        gate="passed" if version.verdict.passed else "overridden",
    )


def _told(reasons: Sequence[Reason]) -> list[str]:
    return [*map(str, reasons)]
