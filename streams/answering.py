"""Drivers for what has to be trained only: what is known already is answered by this process."""

import asyncio
from typing import Protocol

import structlog

from orchestrator.store import experiments
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease
from streams.reconciling import Drivers
from streams.repeating import DRAIN_SECONDS

log = structlog.get_logger(__name__)


class Answering(Protocol):
    """Whoever leads experiments to their end without training anything."""

    async def answer(self, experiment: str, lease: Lease) -> bool:
        """Lead it to its end and give the lease back; False: a driver has to go on with it."""
        ...


class KnownFirst:
    """`Drivers` that are launched only where an answer would not do.

    What has not begun and was searched before is answered, one experiment after the other. Whatever comes of that, an
    experiment is a driver's afterwards, should it not have ended.

    Args:
        database: knows what was searched.
        answers: lead experiments in this process.
        drivers: lead the others.
    """

    def __init__(self, database: Database, answers: Answering, drivers: Drivers) -> None:
        self._database = database
        self._answers = answers
        self._drivers = drivers
        self._answering: dict[Lease, asyncio.Task[None]] = {}
        self._tried: set[str] = set()
        self._turn = asyncio.Lock()
        self._stopping = False

    async def launch(self, experiment: str, lease: Lease) -> None:
        """Have it answered, or have a driver lead it, without waiting for it."""
        if experiment in self._tried or not await self._is_repeated(experiment):
            await self._drivers.launch(experiment, lease)
            return
        self._tried.add(experiment)
        self._answering[lease] = asyncio.create_task(self._answer(experiment, lease))

    async def alive(self, lease: Lease) -> bool:
        """Whether somebody answers or drives under this lease."""
        return lease in self._answering or await self._drivers.alive(lease)

    async def end(self, lease: Lease) -> None:
        """End the driver of this lease, if there is one; an answer cannot be ended, but writes nothing without it."""
        await self._drivers.end(lease)

    async def stop(self) -> None:
        """Finish the answer at hand; another worker sees to the others."""
        self._stopping = True
        if self._answering:
            await asyncio.wait(self._answering.values(), timeout=DRAIN_SECONDS)

    async def _is_repeated(self, experiment: str) -> bool:
        async with self._database.snapshot() as tx:
            return await experiments.is_repeated(tx, experiment)

    async def _answer(self, experiment: str, lease: Lease) -> None:
        try:
            async with self._turn:
                if not self._stopping and await self._answers.answer(experiment, lease):
                    log.info("answered_from_fingerprints", experiment=experiment)
        except Exception:
            # Whoever has the next lease goes on: a driver, which has a process of its own to lose.
            log.exception("answer_broke_off", experiment=experiment)
        finally:
            del self._answering[lease]
