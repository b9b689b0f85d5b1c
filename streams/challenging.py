"""Has challengers answer beside the versions that serve, each in a slot of its own, and ends what is on trial no more.

Apart from `streams.deploying`, so that no champion ever waits for a challenger.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from orchestrator.store import challengers, ensembles
from orchestrator.store.ensembles import Reasons, Version
from orchestrator.store.errors import NotWanted
from serving.deployer import DeployFailed, NotYet
from serving.version import ServedVersion, is_beside
from streams.deploying import ATTEMPTS, PASSES_BETWEEN_LOOKS, Serving
from streams.leading import Leadership, Leading
from streams.repeating import OnFailure
from streams.served import beside

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
LINGERS_SECONDS = 60.0
"""How long one answers on whose trial has ended: every worker has other routes by then, and asks it no more."""


class Challenging(Leading):
    """Runs passes, one at a time; of all workers, one does.

    Args:
        leadership: of the worker that does; its database says who is on trial.
        serving: makes them answer.
        clock: the time.
        on_failure: called with the error that ends it.
        lingers: seconds for which one answers on whose trial has ended.
        passes_between_looks: every so many passes, Ray Serve is asked what answers.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        serving: Serving,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
        lingers: float = LINGERS_SECONDS,
        passes_between_looks: int = PASSES_BETWEEN_LOOKS,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._serving = serving
        self._clock = clock
        self._lingers = lingers
        self._passes_between_looks = passes_between_looks
        self._passes = 0
        self._attempts: dict[tuple[str, int], int] = {}
        self._answering: set[str] | None = None
        """Slots that may be in use; None: nobody has looked yet."""
        self._over: dict[str, float] = {}
        """Slots whose trial has ended, and since when that is known."""

    async def act(self) -> None:
        """One pass, then rest."""
        await self.reconcile()
        await self.pause(PAUSE_SECONDS)

    async def reconcile(self) -> None:
        """One pass: put on trial who waits for it, have answer again what Ray has lost, and end what is over."""
        async with self._database.snapshot() as tx:
            champions = {each.ensemble: each for each in await ensembles.deployed(tx)}
            wanted = await ensembles.wanted(tx)
        waiting = [each for each in wanted if ensembles.challenges(each, champions.get(each.ensemble))]
        # Whoever is about to serve comes first: it is the next one's champion.
        settled = {each.ensemble for each in wanted} - {each.ensemble for each in wanted if each not in waiting}
        await asyncio.gather(*(self._begin(each) for each in waiting if each.ensemble in settled))
        looks = self._passes % self._passes_between_looks == 0
        self._passes += 1
        if looks:
            await self._look(waiting)

    async def _begin(self, version: Version) -> None:
        """Put a version on trial once it answers; one that cannot be served is given up."""
        name, number = version.ensemble, version.version
        reasons: Reasons = ()
        try:
            await self._serving.deploy(beside(version))
        except DeployFailed as error:
            reasons = error.reasons
        except NotYet as error:
            self._attempts[name, number] = self._attempts.get((name, number), 0) + 1
            if self._attempts[name, number] < ATTEMPTS:
                log.warning("challenger_waits", ensemble=name, version=number, reasons=[*map(str, error.reasons)])
                return
            reasons = error.reasons
        self._attempts.pop((name, number), None)
        if self._answering is not None:
            self._answering.add(beside(version).slot)
        now = self._clock()
        try:
            if reasons:
                log.error("challenger_failed", ensemble=name, version=number, reasons=[*map(str, reasons)])
                await self._database.commit(lambda tx: ensembles.mark_failed(tx, name, number, reasons, now))
            else:
                await self._database.commit(lambda tx: challengers.mark_shadowing(tx, name, number, now))
                log.info("on_trial", ensemble=name, version=number)
        except NotWanted as overtaken:
            log.warning("challenger_overtaken", ensemble=name, version=number, state=overtaken.state)

    async def _look(self, waiting: list[Version]) -> None:
        async with self._database.snapshot() as tx:
            on_trial = await ensembles.challengers(tx)
        if not on_trial and self._answering is not None and not self._answering:
            return
        try:
            found = await self._serving.serving()
        except NotYet as error:
            log.error("serving_unknown", reasons=[*map(str, error.reasons)])
            return
        wanted = {version.slot: version for version in map(beside, on_trial)}
        lost = [
            version for slot, version in wanted.items() if (one := found.get(slot)) is None or one.served != version
        ]
        self._answering = {slot for slot in found if is_beside(slot)}
        over = self._answering - wanted.keys() - {beside(each).slot for each in waiting}
        now = asyncio.get_running_loop().time()
        self._over = {slot: self._over.get(slot, now) for slot in over}
        ended = [slot for slot, since in self._over.items() if now - since >= self._lingers]
        await asyncio.gather(*map(self._restore, lost), *map(self._end, ended))

    async def _restore(self, version: ServedVersion) -> None:
        log.warning("challenger_is_not_served", ensemble=version.ensemble, version=version.version)
        try:
            await self._serving.deploy(version)
        except (DeployFailed, NotYet) as error:
            # It stays on trial: what it does not answer speaks for itself, and whoever judges it sees that.
            log.error("challenger_cannot_be_restored", ensemble=version.ensemble, reasons=[*map(str, error.reasons)])

    async def _end(self, slot: str) -> None:
        log.info("challenger_ends", slot=slot)
        try:
            await self._serving.delete(slot)
        except NotYet as error:
            log.error("challenger_not_ended", slot=slot, reasons=[*map(str, error.reasons)])
