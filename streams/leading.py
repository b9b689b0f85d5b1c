"""Services of which one acts at a time, of those of all workers on one database; the others stand by."""

import asyncio
from abc import abstractmethod
from contextlib import suppress
from datetime import timedelta
from typing import Never

import structlog

from orchestrator.store import leases
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Fenced, Lease
from orchestrator.store.terms import Term
from streams.metrics import LEADS
from streams.repeating import OnFailure, Repeating
from streams.tasks import cancel

log = structlog.get_logger(__name__)

STAND_BY_SECONDS = 1.0


class Leadership:
    """Whether this worker is the one that does something.

    Args:
        database: all workers'.
        name: of what is done.
        holder: this worker; no other goes by that name.
        ttl: how soon another takes over from a worker that is not heard of any more.

    Attributes:
        name: of what is done.
        holder: this worker.
        database: the database for whoever leads: what is written through it is written while leading, or refused.
    """

    def __init__(self, database: Database, name: str, holder: str, ttl: timedelta) -> None:
        self.name = name
        self._lease = Lease(name, holder, 0)
        self.database: Database = Fenced(database, self._lease)
        self._plain = database
        self.holder = holder
        self._ttl = ttl
        self._term: Term | None = None
        self._keeping: asyncio.Task[Never] | None = None

    @property
    def holds(self) -> bool:
        """Whether this worker leads, as far as it knows."""
        return self._term is not None and self._term.certain and self._keeping is not None and not self._keeping.done()

    async def leads(self) -> bool:
        """Whether this worker leads; where nobody does, it does from now on, until it stands still for too long."""
        if self.holds:
            return True
        if self._keeping is not None and self._keeping.done():
            with suppress(LeaseLost):
                self._keeping.result()
        await self.lost()
        async with self._plain.snapshot() as tx:
            if not await leases.may_have(tx, self.name):
                return False
        async with self._plain.transaction() as tx:
            lease = await leases.acquire(tx, self.name, self.holder, self._ttl)
        if lease is None:
            return False
        log.info("leads", what=self.name, epoch=lease.epoch)
        LEADS.labels(self.name).set(1)
        self._lease, self.database = lease, Fenced(self._plain, lease)
        self._term = Term(self._plain, lease, self._ttl)
        self._keeping = asyncio.create_task(self._term.keep())
        return True

    def insist(self) -> None:
        """Go on only while nobody else can lead: for what others see at once, and no transaction refuses.

        Raises:
            LeaseLost: this worker leads no longer, or has stood still for too long.
        """
        if not self.holds:
            raise LeaseLost(self.name, self.holder, self._lease.epoch)

    async def lost(self) -> None:
        """This worker leads no longer: another does, or may."""
        LEADS.labels(self.name).set(0)
        if self._keeping is not None:
            log.info("leads_no_longer", what=self.name)
            await cancel([self._keeping])
        self._term = self._keeping = None

    async def resign(self) -> None:
        """Lead no longer, so that another may at once."""
        if self._keeping is not None and self._term is not None:
            term = self._term
            await self.lost()
            await term.end()


class Leading(Repeating):
    """Acts again and again while it leads.

    Args:
        leadership: says whether it does.
        on_failure: called with the error that ends it.
    """

    def __init__(self, leadership: Leadership, on_failure: OnFailure) -> None:
        super().__init__(on_failure)
        self._leadership = leadership

    @abstractmethod
    async def act(self) -> None:
        """One turn of the one that leads. What it writes, it writes through `_database`."""

    async def stand_by(self) -> None:
        """What the others do meanwhile."""

    async def finish(self) -> None:
        """What the one that leads does last, after its last turn."""

    @property
    def _database(self) -> Database:
        return self._leadership.database

    async def turn(self) -> None:
        """Act, or stand by."""
        if not await self._leadership.leads():
            await self.stand_by()
            await self.pause(STAND_BY_SECONDS)
            return
        try:
            await self.act()
        except LeaseLost:
            await self._leadership.lost()

    async def on_stop(self) -> None:
        """Finish the turn at hand, and leave the rest to another worker."""
        await super().on_stop()
        if self._leadership.holds:
            await self.finish()
        await self._leadership.resign()
