"""The policies' work: each turn, what the detectors read is told, and what follows from it is triggered once.

A turn begins from the database alone. A trigger, the request that it makes and the event that tells of it are written
in one transaction, which looks once more whether what was decided by is still so; so whatever is killed, and whoever
goes on, each trigger asks for one search.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.retraining import Decision, Fire, Join, decide
from orchestrator.store import watches
from orchestrator.store.evidence import Case, gather
from orchestrator.store.outbox import append
from schemas.base import JsonObject
from schemas.retraining import DetectorReading, DetectorsRead
from schemas.topics import RETRAINING_EVENTS
from streams.leading import Leadership, Leading
from streams.metrics import DRIFT, TRIGGERS
from streams.profiles import Profiles
from streams.promoting import Promoting
from streams.repeating import OnFailure
from streams.triggering import Ask, Judging, asked, fire, join

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 3.0
SHARE = 0.02
"""Of the time, at most: books of many sessions take long to be read, and the tick path shares the interpreter."""
EVERY = timedelta(minutes=15)
"""How often readings that change are told while no window is whole and no session closes, at most."""


@dataclass(frozen=True)
class Told:
    """What was told of an ensemble's detectors last."""

    at: datetime
    readings: tuple[DetectorReading, ...]

    def is_due(self, readings: Sequence[DetectorReading], now: datetime) -> bool:
        """Whether readings are to be told: another window is whole or session closed, or they differ after a while."""
        if _windows(readings) != _windows(self.readings):
            return True
        return now - self.at >= EVERY and _lasting(readings) != _lasting(self.readings)


class Retraining(Leading):
    """Sees to the policies while it leads.

    Args:
        leadership: of the worker that does.
        judge: says what a request amounts to.
        kept: what features were like in training.
        clock: the time.
        on_failure: called with the error that ends it.
    """

    def __init__(
        self,
        leadership: Leadership,
        judge: Judging,
        kept: Profiles,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._judge = judge
        self._kept = kept
        self._clock = clock
        self._promoting = Promoting()
        self._told: dict[str, Told] = {}
        self._waits: dict[str, str] = {}

    async def act(self) -> None:
        """See to each policy, then rest."""
        begun = time.monotonic()
        await self.see_to_all()
        await self.pause(max(PAUSE_SECONDS, (time.monotonic() - begun) * (1 / SHARE - 1)))

    async def see_to_all(self) -> None:
        """See to each policy.

        Raises:
            LeaseLost: another worker does.
        """
        async with self._database.snapshot() as tx:
            names = [each.ensemble for each in await watches.champions(tx)]
        self._told = {name: told for name, told in self._told.items() if name in names}
        for name in names:
            await self._see_to(name)

    async def _see_to(self, ensemble: str) -> None:
        now = self._clock()
        async with self._database.snapshot() as tx:
            case = await gather(tx, ensemble, now)
        if case is None:
            return
        profiles = await self._kept.of(ensemble, case.champion.version, case.champion.manifest)
        readings = case.readings(profiles, now)
        await self._tell(case, readings, now)
        if not await self._promoting.see_to(self._database, case, now):
            await self._trigger(case, readings, now)

    async def _tell(self, case: Case, readings: tuple[DetectorReading, ...], now: datetime) -> None:
        nearest = [each.figure / each.threshold for each in readings if each.detector == "drift" and each.figure]
        DRIFT.labels(case.ensemble).set(max(nearest, default=0.0))
        told = self._told.get(case.ensemble)
        if not readings or (told is not None and not told.is_due(readings, now)):
            return
        event = DetectorsRead(
            ensemble=case.ensemble,
            sequence=0,
            version=case.champion.version,
            serving_version=case.champion.version,
            emitted_at=now,
            readings=readings,
        )

        async def write(tx: AsyncSession) -> None:
            await append(tx, RETRAINING_EVENTS, case.ensemble, event, now)

        await self._database.commit(write)
        self._told[case.ensemble] = Told(now, readings)

    async def _trigger(self, case: Case, readings: Sequence[DetectorReading], now: datetime) -> None:
        """Do what the policy says, unless something has changed that it was decided by."""
        decision, ask = self._decided(case, readings, 0, now), None
        if isinstance(decision, Fire):
            ask = await self._asked(case, now)
            if ask is None:
                return
            decision = self._decided(case, readings, ask.trials, now)
        self._log(case, decision)
        if isinstance(decision, Fire) and ask is not None:
            await self._fire(case, ask, decision.causes, now)
        elif isinstance(decision, Join) and case.newest is not None and case.newest.takes_more:
            newest, causes = case.newest, decision.causes

            async def write(tx: AsyncSession) -> None:
                await join(tx, newest, causes)

            await self._database.commit(write)

    async def _fire(self, case: Case, ask: Ask, causes: Sequence[JsonObject], now: datetime) -> None:
        async def write(tx: AsyncSession) -> bool:
            trigger = await fire(tx, case, ask, causes, now)
            # Whoever triggers waits at the number of the trigger: what is there now stays until this has ended.
            before = await gather(tx, case.ensemble, now, but=trigger.request_id)
            if before is None or before.basis != case.basis:
                await tx.rollback()
                return False
            return True

        if await self._database.commit(write):
            TRIGGERS.labels(case.ensemble, causes[0]["kind"]).inc()
            log.info("triggered", ensemble=case.ensemble, version=case.champion.version, cause=causes[0])

    def _decided(self, case: Case, readings: Sequence[DetectorReading], trials: int, now: datetime) -> Decision | None:
        return decide(case.policy.policy, case.evidence(readings, trials), case.calendar, now)

    async def _asked(self, case: Case, now: datetime) -> Ask | None:
        """The search that is to be asked for; None: it cannot be, which the log says."""
        try:
            found = await asked(self._database, case, self._judge, now)
        except OSError as error:
            log.warning("not_triggered", ensemble=case.ensemble, cause=str(error))
            return None
        if isinstance(found, Ask):
            return found
        self._say_once(case.ensemble, "cannot_be_triggered", [*map(str, found)])
        return None

    def _log(self, case: Case, decision: Decision | None) -> None:
        """Say why what is due is not triggered, once."""
        if decision is None or isinstance(decision, Fire):
            self._waits.pop(case.ensemble, None)
        elif not isinstance(decision, Join):
            self._say_once(case.ensemble, "trigger_waits", [str(decision.reason)])

    def _say_once(self, ensemble: str, what: str, reasons: list[str]) -> None:
        if self._waits.get(ensemble) != what + reasons[0]:
            self._waits[ensemble] = what + reasons[0]
            log.warning(what, ensemble=ensemble, reasons=reasons)


def _windows(readings: Sequence[DetectorReading]) -> set[tuple[object, ...]]:
    """The windows that are whole, and the sessions that have closed."""
    return {
        (each.detector, each.ticker, each.window_end)
        for each in readings
        if each.detector in ("drift", "outliers", "performance")
    }


def _lasting(readings: Sequence[DetectorReading]) -> list[DetectorReading]:
    """Readings without those that change as time goes by."""
    return [each for each in readings if each.detector != "schedule"]
