"""The database: opening it, its transactions, and all that differs from one kind of database to another.

SQLite is one file with a write-ahead log and one writer at a time; any number of processes of one host may share it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Table, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.store import migrations
from orchestrator.store.errors import UnusableDatabase

BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for its turn before it gives up."""

_WRITE = ("PRAGMA query_only = OFF", "BEGIN IMMEDIATE")
_READ = ("PRAGMA query_only = ON", "BEGIN")
_BARE = ("PRAGMA query_only = OFF",)
_SNAPSHOTS: dict[str, dict[str, Any]] = {
    "sqlite": {"begin": _READ},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
_UPGRADE_LOCK = 0x6F726368
_UNUSABLE = {
    "SQLITE_NOTADB": "the file is no SQLite database, or is encrypted",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_CANTOPEN": "the file cannot be opened; look at its folder and their permissions",
}
_INSERTS: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """One database and the connections to it; bound to the event loop that uses it, and closed by `close`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(**_SNAPSHOTS[engine.dialect.name])

    @classmethod
    def open(cls, url: str | URL) -> Self:
        """The database at an SQLAlchemy address with an asyncio driver, such as `sqlite+aiosqlite:///path`.

        Nothing is read or written until it is used; `upgrade` comes first.
        """
        # NaN is no JSON: better refused here than by the first reader.
        engine = create_async_engine(url, json_serializer=partial(json.dumps, allow_nan=False))
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        return cls(engine)

    @property
    def url(self) -> URL:
        """The address; its text form hides the password."""
        return self._engine.url

    async def upgrade(self) -> None:
        """Bring the schema to what this program needs; safe to call from several processes at once.

        Raises:
            UnusableDatabase: the file is damaged, no database, another program's, or written by a newer version.
        """
        if self._engine.dialect.name == "sqlite":
            await _write_ahead(self._engine)
        async with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # Here a transaction that writes does not by itself keep the others out.
                await connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            await connection.run_sync(migrations.upgrade)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction that writes: committed at the end, rolled back by an exception."""
        async with AsyncSession(self._engine, expire_on_commit=False) as tx, tx.begin():
            yield tx

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads: it waits for no writer, and a write in it is refused by the database."""
        async with AsyncSession(self._reading, expire_on_commit=False) as tx, tx.begin():
            yield tx

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


async def insert_new(tx: AsyncSession, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    """Insert the rows that no unique index refuses and return their primary keys.

    A row that another transaction is about to insert is waited for.
    """
    if not rows:
        return set()
    statement = _INSERTS[tx.get_bind().dialect.name](table).on_conflict_do_nothing().returning(*table.primary_key)
    return {tuple(row) for row in await tx.execute(statement, rows)}


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Durable commits, foreign keys, patience with other writers, and transactions that begin as they mean to go on."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        # The driver begins no transactions of its own: a reader that turns writer could not wait for its turn.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        # NORMAL may roll back committed work after a power loss.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        for statement in connection.get_execution_options().get("begin", _WRITE):
            connection.exec_driver_sql(statement)

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        code = getattr(context.original_exception, "sqlite_errorname", "")
        fault = next((fault for name, fault in _UNUSABLE.items() if code.startswith(name)), None)
        return UnusableDatabase(str(engine.url), fault) if fault else None


async def _write_ahead(engine: AsyncEngine) -> None:
    """Switch the file to a write-ahead log, which stays with it.

    SQLite does not wait when two connections switch a new file at once (each could wait for the other), so this does.
    """
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    attempts = BUSY_TIMEOUT_MS // 50
    for attempt in range(1, attempts + 1):
        try:
            async with engine.connect() as connection:
                await connection.execution_options(begin=_BARE)
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
        except OperationalError as busy:
            if attempt == attempts or getattr(busy.orig, "sqlite_errorname", "") != "SQLITE_BUSY":
                raise
            await asyncio.sleep(0.05)
