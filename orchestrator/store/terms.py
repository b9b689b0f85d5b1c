"""A term: the time for which a lease is kept, by renewing it in the background."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Never, TypeVar

from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, LeaseLost
from orchestrator.store.leases import Lease, release, renew

RENEWALS = 3
"""In the time for which a lease is given: one or two may fail."""

T = TypeVar("T")


class Term:
    """A lease and how long it is certain; made in the loop that keeps it.

    Args:
        database: where the lease is.
        lease: the lease.
        ttl: for how long it is renewed each time.
    """

    def __init__(self, database: Database, lease: Lease, ttl: timedelta) -> None:
        self.lease = lease
        self._database = database
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + ttl.total_seconds()

    @property
    def certain(self) -> bool:
        """Whether nobody else can have the lease now. It is not where this process has stood still for too long."""
        return self._loop.time() < self._until

    async def keep(self) -> Never:
        """Renew the lease again and again, for the first time some time after it was acquired.

        Raises:
            LeaseLost: it is another's, or may be.
        """
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / RENEWALS)
            await self._renew()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Keep the lease while `work` is done, and give it back; what `work` returns.

        It may have been acquired long ago, by whoever handed it on.

        Raises:
            LeaseLost: at once when the lease is lost, however far `work` is.
        """
        try:
            await self._renew()
        except BaseException:
            work.close()
            raise
        keeping, working = asyncio.create_task(self.keep()), asyncio.create_task(work)
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await keeping
        finally:
            for task in (keeping, working):
                task.cancel()
        await self.end()
        return working.result()

    async def _renew(self) -> None:
        """Renew it; a database that does not answer is given until the lease has run out."""
        asked = self._loop.time()
        try:
            async with self._database.transaction() as tx:
                await renew(tx, self.lease, self._ttl)
            self._until = asked + self._ttl.total_seconds()
        except DatabaseAway as away:
            if not self.certain:
                raise LeaseLost(self.lease.name, self.lease.holder, self.lease.epoch) from away

    async def end(self) -> None:
        """Give the lease back, if it is there to be given and the database answers; else it runs out."""
        with suppress(DatabaseAway):
            async with self._database.transaction() as tx:
                await release(tx, self.lease)
