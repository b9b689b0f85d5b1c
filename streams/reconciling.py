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
    ) -> None:
        super().__init__(on_failure)
        self._database = database
        self._serving = serving
        self._drivers = drivers
        self._routes = routes
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
        """One pass."""
        await self._serve()
        await self._drive()

    async def _serve(self) -> None:
        async with self._database.snapshot() as tx:
            deployed, wanted = await ensembles.deployed(tx), await ensembles.wanted(tx)
        answering = await self._serving.serving() if deployed else {}
        current = {version.ensemble: version for version in deployed}
        for version in deployed:
            if answering.get(version.ensemble) != served(version):
                log.warning("version_is_not_served", ensemble=version.ensemble, version=version.version)
                await self._restore(version)
        self._route(current.values())
        for version in wanted:
            if await self._deploy(version, current):
                current[version.ensemble] = version

    async def _restore(self, version: Version) -> None:
        """Serve again what was served; where that fails it is tried again with the next pass."""
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
        async with self._database.transaction() as tx:
            for position, experiment in enumerate(await experiments.in_states(tx, State.ACCEPTED)):
                event = ExperimentWaiting(
                    experiment=experiment.id,
                    request_id=experiment.request_id,
                    sequence=0,
                    emitted_at=self._clock(),
                    position=position,
                )
                await experiments.advance(tx, experiment.id, State.WAITING, event, self._clock())
            undriven = [each for each in await experiments.in_states(tx, *DRIVEN) if not _rests(each)]
        counts = Counter(each.state for each in undriven)
        for state in DRIVEN:
            EXPERIMENTS.labels(state).set(counts[state])
        for experiment in undriven:
            await self._launch(experiment)

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
                if current.state in DRIVEN and not _rests(current):
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


def _rests(experiment: Experiment) -> bool:
    """Selected, judged and not to be deployed: nothing is left to do."""
    return experiment.state is State.SELECTED and experiment.verdict is not None


def _told(reasons: Sequence[Reason]) -> list[str]:
    return [reason.message for reason in reasons]
