"""Compares the ensemble versions that the database wants served with what Ray Serve serves, and mends the difference.

Each pass starts from the database alone, so it does not matter what was lost before it: versions that are wanted are
deployed, those that were served before Ray went away are served again, and what nobody wants any longer is deleted.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store import ensembles
from orchestrator.store.ensembles import Coverage, Version
from orchestrator.store.errors import NotWanted
from schemas.base import Reason
from serving.deployer import DeployFailed, NotYet
from serving.version import ServedVersion, Standing
from streams.leading import Leadership, Leading
from streams.metrics import SERVING_VERSION
from streams.repeating import OnFailure
from streams.routes import Route, Routes
from streams.served import served

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
PASSES_BETWEEN_LOOKS = 5
"""Ray Serve is asked what answers only so often: it costs more than a look into the database."""
CLOSELY = timedelta(seconds=60)
"""For so long after a version was deployed, every pass asks: whether it answers as it should shows soon."""
ATTEMPTS = 5
"""A version that Ray has been in the way of this often is given up."""
AT_ONCE = 4
"""Ensembles deployed at the same time: each starts a process."""


class Serving(Protocol):
    """Whoever makes versions answer, each in its slot: the one that serves in its ensemble's, a challenger beside."""

    async def deploy(self, wanted: ServedVersion) -> None:
        """Serve a version and return when it answers.

        Raises:
            DeployFailed: it can never be served, and why.
            NotYet: it is not served, but may be a moment later.
        """
        ...

    async def serving(self) -> dict[str, Standing | None]:
        """What there is: by slot the version that answers and how it stands, None where nothing does.

        Raises:
            NotYet: nobody can say now.
        """
        ...

    async def delete(self, slot: str) -> None:
        """Serve in a slot no longer; nothing changes where nothing is served.

        Raises:
            NotYet: it may still be served.
        """
        ...


class Deployments(Leading):
    """Runs passes, one at a time, at least every second; of all workers, one does, and the others route their ticks.

    Args:
        leadership: of the worker that deploys; its database says what is wanted.
        serving: serves it.
        routes: replaced when what is served has changed.
        clock: the time.
        on_failure: called with the error that ends it.
        passes_between_looks: every so many passes, Ray Serve is asked what answers.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        serving: Serving,
        routes: Routes,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        passes_between_looks: int = PASSES_BETWEEN_LOOKS,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._passes_between_looks = passes_between_looks
        self._serving = serving
        self._routes = routes
        self._clock = clock
        self._current: dict[str, Version] = {}
        self._challengers: dict[str, Version] = {}
        self._covered: list[Coverage] = []
        self._left: dict[str, Version] = {}
        self._loaded = False
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._passes = 0

    @property
    def serves(self) -> tuple[ServedVersion, ...]:
        """The versions that serve, as far as this worker knows, by name of their ensembles."""
        return tuple(served(self._current[ensemble]) for ensemble in sorted(self._current))

    async def act(self) -> None:
        """One pass, then rest."""
        await self.reconcile()
        await self.pause(PAUSE_SECONDS)

    async def stand_by(self) -> None:
        """Route ticks as the one that deploys has it."""
        await self.load_routes()

    async def reconcile(self) -> None:
        """One pass. Ensembles are seen to beside each other, versions of one ensemble in the order of their numbers."""
        await self.load_routes()
        looks = self._passes % self._passes_between_looks == 0 or self._deployed_lately()
        self._passes += 1
        async with self._database.snapshot() as tx:
            wanted = [each for each in await ensembles.wanted(tx) if not self._challenges(each)]
            given_up = await ensembles.given_up(tx) if looks else frozenset()
        successors: dict[str, list[Version]] = defaultdict(list)
        for version in wanted:
            successors[version.ensemble].append(version)
        seeing_to = [self._replace(versions) for versions in successors.values()]
        if looks and (self._current or given_up):
            # One whose successor waits is left to it: the successor may answer already, and only not be told of yet.
            seeing_to.append(self._look([*self._current.keys() - successors.keys()], given_up))
        await asyncio.gather(*seeing_to)

    async def load_routes(self) -> None:
        """Route ticks to what the database says is deployed."""
        async with self._database.snapshot() as tx:
            current = {version.ensemble: version for version in await ensembles.deployed(tx)}
            self._challengers = {version.ensemble: version for version in await ensembles.challengers(tx)}
            if current != self._current or not self._loaded:
                self._covered = await ensembles.covered(tx)
                self._left = {last.ensemble: last for last in await ensembles.left(tx)}
                self._current, self._loaded = current, True
        self._route()

    async def _look(self, names: Iterable[str], given_up: frozenset[str]) -> None:
        """Serve again what Ray has lost, the version before where one does not answer as it should, and no longer what
        nobody wants; where that fails it is tried again later."""
        try:
            answering = await self._serving.serving()
        except NotYet as error:
            log.error("serving_unknown", reasons=_told(error.reasons))
            return
        await asyncio.gather(
            *(self._put_right(self._current[each], answering.get(each)) for each in names),
            *(self._delete(each) for each in given_up.intersection(answering)),
        )

    async def _put_right(self, version: Version, standing: Standing | None) -> None:
        if standing is None or standing.served != served(version):
            await self._restore(version)
        elif standing.objections:
            await self._take_back(version, standing.objections)

    async def _restore(self, version: Version) -> None:
        log.warning("version_is_not_served", ensemble=version.ensemble, version=version.version)
        try:
            async with self._room:
                await self._serving.deploy(served(version))
        except DeployFailed as error:
            await self._take_back(version, error.reasons)
        except NotYet as error:
            log.error("version_cannot_be_restored", ensemble=version.ensemble, reasons=_told(error.reasons))

    async def _take_back(self, version: Version, reasons: tuple[Reason, ...]) -> None:
        """Have an earlier version answer, and tell it; where none can, everything stays as it is."""
        ensemble, number = version.ensemble, version.version
        log.error("version_fails", ensemble=ensemble, version=number, reasons=_told(reasons))
        before = await self._answering_before(version)
        if before is None:
            log.error("not_rolled_back", ensemble=ensemble, version=number)
            return
        serves = before.version
        if await self._written(
            version, lambda tx: ensembles.take_back(tx, ensemble, number, serves, reasons, self._clock())
        ):
            log.warning("rolled_back", ensemble=ensemble, version=number, serving_version=serves)
            await self.load_routes()

    async def _answering_before(self, version: Version) -> Version | None:
        """The best of the versions before that can answer, once it does; None: none can now."""
        async with self._database.snapshot() as tx:
            earlier = await ensembles.gone_back_to(tx, version)
        for before in earlier:
            try:
                async with self._room:
                    await self._serving.deploy(served(before))
            except DeployFailed as error:
                log.error("passed_over", ensemble=before.ensemble, version=before.version, reasons=_told(error.reasons))
            except NotYet as error:
                log.error("waits", ensemble=before.ensemble, version=before.version, reasons=_told(error.reasons))
                return None
            else:
                return before
        return None

    def _challenges(self, version: Version) -> bool:
        return ensembles.challenges(version, self._current.get(version.ensemble))

    def _on_trial(self, version: Version) -> bool:
        challenger = self._challengers.get(version.ensemble)
        return challenger is not None and challenger.version == version.version

    def _deployed_lately(self) -> bool:
        since = self._clock() - CLOSELY
        return any(each.deployed_at is not None and each.deployed_at > since for each in self._current.values())

    async def _delete(self, ensemble: str) -> None:
        log.info("deletes", ensemble=ensemble)
        try:
            await self._serving.delete(ensemble)
        except NotYet as error:
            log.error("not_deleted", ensemble=ensemble, reasons=_told(error.reasons))

    async def _replace(self, versions: Sequence[Version]) -> None:
        """Deploy one ensemble's wanted versions, oldest first, until one has to wait."""
        for version in versions:
            if self._challenges(version):
                # The one before it serves since; this one is to be put on trial beside it.
                return
            objection = ensembles.objection(version, self._current.get(version.ensemble))
            if objection is not None:
                await self._give_up(version, (objection,))
                continue
            try:
                async with self._room:
                    await self._serving.deploy(served(version))
            except DeployFailed as error:
                await self._give_up(version, error.reasons)
            except NotYet as error:
                self._attempts[version.ensemble, version.version] += 1
                if self._attempts[version.ensemble, version.version] < ATTEMPTS:
                    log.warning("deployment_waits", ensemble=version.ensemble, reasons=_told(error.reasons))
                    return
                await self._give_up(version, error.reasons)
            else:
                await self._deployed(version)

    async def _deployed(self, version: Version) -> None:
        # Routed before it is told: whoever hears `deployed` may send a tick at once.
        self._current[version.ensemble] = version
        self._left.pop(version.ensemble, None)
        if self._on_trial(version):
            del self._challengers[version.ensemble]
        self._covered.append(Coverage(version.ensemble, version.tickers, version.timeframe))
        self._route()
        name, number = version.ensemble, version.version
        if await self._written(version, lambda tx: ensembles.mark_deployed(tx, name, number, self._clock())):
            log.info("deployed", ensemble=version.ensemble, version=version.version, experiment=version.experiment)

    async def _give_up(self, version: Version, reasons: tuple[Reason, ...]) -> None:
        log.error("deployment_failed", ensemble=version.ensemble, version=version.version, reasons=_told(reasons))
        name, number = version.ensemble, version.version
        await self._written(version, lambda tx: ensembles.mark_failed(tx, name, number, reasons, self._clock()))

    async def _written(self, version: Version, mark: Callable[[AsyncSession], Awaitable[None]]) -> bool:
        """Write what has become of a version that was wanted; False: a command has overtaken it.

        What answers then, and should not, is put right when the next pass looks.
        """
        # Should it be wanted once more, it begins anew.
        self._attempts.pop((version.ensemble, version.version), None)
        try:
            await self._database.commit(mark)
        except NotWanted as overtaken:
            log.warning("version_overtaken", ensemble=version.ensemble, version=version.version, state=overtaken.state)
            await self.load_routes()
            return False
        return True

    def _route(self) -> None:
        for version in self._current.values():
            SERVING_VERSION.labels(version.ensemble).set(version.version)
        for ensemble in self._left:
            SERVING_VERSION.labels(ensemble).set(0)
        self._routes.replace(routes_of(self._current, self._left, self._covered, self._challengers))


def routes_of(
    current: Mapping[str, Version],
    left: Mapping[str, Version],
    covered: Iterable[Coverage],
    challengers: Mapping[str, Version],
) -> list[Route]:
    """Which ticks go to which ensemble: those of every version that it has served.

    What a version before covered, and the one that serves does not, may still be held: it is told to be left. So is
    what an ensemble held that was deleted. A challenger gets the ticks of its own instruments; where it is heard, it
    and the one that serves change places, so that one of the two is heard everywhere.

    Args:
        current: the versions that serve, by ensemble.
        left: of ensembles that serve no longer, the version that did last.
        covered: what all of them and those before them cover.
        challengers: the versions on trial beside those that serve, by ensemble.
    """
    tickers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in covered:
        tickers[each.ensemble, each.timeframe].update(each.tickers)
    modes = {version.ensemble: version.mode for version in (*left.values(), *current.values())}
    found = [
        Route(ensemble, frozenset(these), timeframe, modes[ensemble], left.get(ensemble))
        for (ensemble, timeframe), these in tickers.items()
        if ensemble in modes
    ]
    return [route for each in found for route in _beside(each, current.get(each.ensemble), challengers)]


def _beside(route: Route, champion: Version | None, challengers: Mapping[str, Version]) -> list[Route]:
    """An ensemble's ticks of a timeframe, as they are divided between the one that serves and its challenger."""
    challenger = challengers.get(route.ensemble)
    if champion is None or challenger is None or challenger.timeframe != route.timeframe:
        return [route]
    covered = frozenset(challenger.tickers)
    heard = covered & route.tickers & frozenset(challenger.canary)
    beside = replace(route, tickers=covered, mode="shadow", challenger=challenger.version)
    parts = [
        replace(route, tickers=route.tickers - heard),
        replace(route, tickers=heard, mode="shadow", canary=True),
        replace(beside, tickers=covered - heard),
        replace(beside, tickers=heard, mode=champion.mode, canary=True),
    ]
    return [each for each in parts if each.tickers]


def _told(reasons: Sequence[Reason]) -> list[str]:
    return [*map(str, reasons)]
