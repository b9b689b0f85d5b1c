"""Leases: the right to do what only one may do at a time, for a while, by the database's clock.

Every lease of a name has a higher epoch than the one before. Whoever has lost one, since it stood still for too long,
does not know it: its transactions begin with `held`, and write nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import Database, insert_new
from orchestrator.store.errors import LeaseLost
from orchestrator.store.tables import leases

_DRIVER = "driver:"


@dataclass(frozen=True)
class Lease:
    """A lease as its holder has it."""

    name: str
    holder: str
    epoch: int


@dataclass(frozen=True)
class Standing:
    """The newest lease of a name, and whether it is in force."""

    lease: Lease
    in_force: bool


@dataclass(frozen=True)
class Row:
    """A lease as the database has it; without a holder it has been given back."""

    name: str
    holder: str | None
    epoch: int
    expires_at: datetime


def is_free(row: Row, now: datetime) -> bool:
    """Whether anybody may have the lease: it was never given, was given back, or has run out."""
    return row.holder is None or row.expires_at <= now


def granted(row: Row, holder: str, now: datetime, ttl: timedelta) -> Row | None:
    """The row once `holder` has the lease, with the next epoch; None: it is not free."""
    return Row(row.name, holder, row.epoch + 1, now + ttl) if is_free(row, now) else None


def stands(row: Row | None, lease: Lease) -> bool:
    """Whether the lease is still its holder's; one that has run out is, until another has it."""
    return row is not None and (row.holder, row.epoch) == (lease.holder, lease.epoch)


async def acquire(tx: AsyncSession, name: str, holder: str, ttl: timedelta) -> Lease | None:
    """The lease of this name for so long, with the next epoch; None: it is another's, or still the holder's own."""
    row = await _take(tx, name)
    while row is None:
        await insert_new(tx, leases, [vars(Row(name, None, 0, datetime.fromtimestamp(0, UTC)))])
        row = await _take(tx, name)
    given = granted(row, holder, await clock(tx), ttl)
    if given is None:
        return None
    await tx.execute(update(leases).where(leases.c.name == name).values(vars(given)))
    return Lease(name, holder, given.epoch)


async def renew(tx: AsyncSession, lease: Lease, ttl: timedelta) -> None:
    """Have the lease for so long from now on.

    Raises:
        LeaseLost: it is another's, or was given back.
    """
    _see(await _take(tx, lease.name), lease)
    expires_at = await clock(tx) + ttl
    await tx.execute(update(leases).where(leases.c.name == lease.name).values(expires_at=expires_at))


async def release(tx: AsyncSession, lease: Lease) -> None:
    """Give the lease back, or take it from a holder that is known to be dead; nothing happens if it has been lost."""
    of_it = (leases.c.name == lease.name) & (leases.c.holder == lease.holder) & (leases.c.epoch == lease.epoch)
    await tx.execute(update(leases).where(of_it).values(holder=None))


async def revoke(tx: AsyncSession, name: str) -> None:
    """Take the lease of this name from whoever has it: they write nothing any more."""
    await tx.execute(update(leases).where(leases.c.name == name).values(holder=None))


async def held(tx: AsyncSession, lease: Lease) -> None:
    """See that the lease is still its holder's, and keep it so until the transaction ends.

    Raises:
        LeaseLost: it is another's, or was given back.
    """
    found = (await tx.execute(_of(lease.name).with_for_update(read=True))).one_or_none()
    _see(None if found is None else Row(**found._mapping), lease)


async def may_have(tx: AsyncSession, name: str) -> bool:
    """Whether it is worth trying to acquire the lease; asked by whoever waits for it, and writes nothing."""
    found = (await tx.execute(_of(name))).one_or_none()
    return found is None or is_free(Row(**found._mapping), await clock(tx))


async def of_drivers(tx: AsyncSession) -> dict[str, Standing]:
    """By experiment, the newest lease of its driver; none where it has been given back."""
    now = await clock(tx)
    given = leases.c.name.startswith(_DRIVER, autoescape=True) & leases.c.holder.is_not(None)
    rows = [Row(**row._mapping) for row in await tx.execute(select(leases).where(given).order_by(leases.c.name))]
    return {
        driven_by(lease := Lease(row.name, row.holder or "", row.epoch)): Standing(lease, not is_free(row, now))
        for row in rows
    }


def driver_of(experiment: str) -> str:
    """The name of the lease to drive an experiment."""
    return f"{_DRIVER}{experiment}"


def driven_by(lease: Lease) -> str:
    """The experiment that this lease is to drive."""
    return lease.name.removeprefix(_DRIVER)


async def clock(tx: AsyncSession) -> datetime:
    """The database's time."""
    if tx.get_bind().dialect.name == "sqlite":
        said = (await tx.execute(select(func.strftime("%Y-%m-%dT%H:%M:%f+00:00", "now")))).scalar_one()
        return datetime.fromisoformat(said)
    now: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    return now


class Fenced(Database):
    """The database for the holder of a lease: its transactions write nothing once the lease is another's.

    Every transaction that writes raises LeaseLost then.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        super().__init__(database._engine)
        self._lease = lease

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction that writes, fenced."""
        async with super().transaction() as tx:
            await held(tx, self._lease)
            yield tx


def _of(name: str) -> Select[Any]:
    return select(leases).where(leases.c.name == name)


async def _take(tx: AsyncSession, name: str) -> Row | None:
    """The lease of this name, locked until the transaction ends."""
    found = (await tx.execute(_of(name).with_for_update())).one_or_none()
    return None if found is None else Row(**found._mapping)


def _see(row: Row | None, lease: Lease) -> None:
    if not stands(row, lease):
        raise LeaseLost(lease.name, lease.holder, lease.epoch)
