"""The database: opening it, its transactions, and what keeps two writers apart.

SQLite is one file with a write-ahead log and one writer at a time; any number of processes of one host may share it.
PostgreSQL is for more than one host: writers wait for each other's rows only.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar

from sqlalchemy import Table, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from orchestrator.store import migrations, postgresql_server, sqlite_file

ATTEMPTS = 5
"""How often a transaction is begun that the database breaks off, since another one waits for it and it for that one."""

T = TypeVar("T")

_BROKEN_OFF = frozenset({"40001", "40P01"})
_SNAPSHOTS: dict[str, dict[str, Any]] = {"sqlite": sqlite_file.SNAPSHOT, "postgresql": postgresql_server.SNAPSHOT}
_UPGRADE_LOCK = 0x6F726368
_INSERTS: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """One database and the connections to it; bound to the event loop that uses it, and closed by `close`.

    Every use may raise UnusableDatabase, where no waiting helps, and DatabaseAway, where it may.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(**_SNAPSHOTS[engine.dialect.name])

    @classmethod
    def open(cls, url: str | URL) -> Self:
        """The database at an address such as `sqlite+aiosqlite:///path` or `postgresql://user:password@host/name`.

        Nothing is read or written until it is used; `upgrade` comes first.
        """
        url = make_url(url)
        on_server = url.get_backend_name() == "postgresql"
        # NaN is no JSON: better refused here than by the first reader.
        engine = create_async_engine(
            postgresql_server.address(url) if on_server else url,
            json_serializer=partial(json.dumps, allow_nan=False),
            **(postgresql_server.OPTIONS if on_server else {}),
        )
        (postgresql_server if on_server else sqlite_file).prepare(engine)
        return cls(engine)

    @property
    def url(self) -> URL:
        """The address; its text form hides the password."""
        return self._engine.url

    @property
    def is_missing(self) -> bool:
        """Whether it is a file that is not there yet: `upgrade` makes it."""
        return self._is_file and sqlite_file.is_missing(self.url)

    async def verify(self) -> None:
        """Look through the whole of an SQLite file, if there is one; a PostgreSQL server looks after its own.

        Raises:
            UnusableDatabase: the file is damaged, no database, another program's, or written by a newer version.
        """
        if self._is_file and not self.is_missing:
            await self._verify()

    async def upgrade(self) -> None:
        """Bring the schema to what this program needs; safe to call from several processes at once.

        An SQLite file that is not there is made, whole or not at all; one that is there is never replaced.

        Raises:
            UnusableDatabase: the database is damaged, none, another program's, or written by a newer version.
        """
        if self._is_file:
            if self.is_missing:
                async with sqlite_file.made(self.url) as aside:
                    await self._build(aside)
            await self._verify()
            await sqlite_file.write_ahead(self._engine)
        await self._migrate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction that writes: committed at the end, rolled back by an exception."""
        async with AsyncSession(self._engine, expire_on_commit=False) as tx, tx.begin():
            yield tx

    async def commit(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do `work` in a transaction that writes, and return what it returns.

        It is for work that locks what others lock in another order. Where two wait for each other, PostgreSQL breaks
        one of them off, and that one begins again: `work` may be called several times, and must change nothing but the
        database.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                async with self.transaction() as tx:
                    return await work(tx)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _BROKEN_OFF:
                    raise
        async with self.transaction() as tx:
            return await work(tx)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads: it waits for no writer, and a write in it is refused by the database."""
        async with AsyncSession(self._reading, expire_on_commit=False) as tx, tx.begin():
            yield tx

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @property
    def _is_file(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    async def _verify(self) -> None:
        await sqlite_file.verify(self.url)
        async with self._reading.connect() as connection:
            await connection.run_sync(migrations.check)

    async def _build(self, aside: URL) -> None:
        new = type(self).open(aside)
        try:
            await sqlite_file.write_ahead(new._engine)
            await new._migrate()
        finally:
            await new.close()

    async def _migrate(self) -> None:
        async with self._engine.begin() as connection:
            if not self._is_file:
                # Here a transaction that writes does not by itself keep the others out.
                await connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            await connection.run_sync(migrations.upgrade)


async def insert_new(tx: AsyncSession, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    """Insert the rows that no unique index refuses and return their primary keys.

    A row that another transaction is about to insert is waited for.
    """
    if not rows:
        return set()
    statement = _INSERTS[tx.get_bind().dialect.name](table).on_conflict_do_nothing().returning(*table.primary_key)
    return {tuple(row) for row in await tx.execute(statement, rows)}
