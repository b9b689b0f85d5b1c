"""What is special about SQLite: a file that is made whole, looked through, and shared by the processes of one host."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.store.errors import DatabaseAway, UnusableDatabase

BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for its turn before it gives up."""

_WRITE = ("PRAGMA query_only = OFF", "BEGIN IMMEDIATE")
_READ = ("PRAGMA query_only = ON", "BEGIN")
_BARE = ("PRAGMA query_only = OFF",)
SNAPSHOT: dict[str, Any] = {"begin": _READ}
"""Execution options of a transaction that only reads."""
_FAULTS = {
    "SQLITE_NOTADB": "the file is no SQLite database, or is encrypted",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_CANTOPEN": "the file is not there or cannot be opened; look at its folder and their permissions",
}
_PASSING = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR")
"""Somebody else writes for very long, the disk is full, the disk does not answer."""
_REMEDY = (
    "Put back a backup, move the file away together with those ending in -wal and -shm to begin with an empty one, "
    "or point DATABASE_URL elsewhere."
)


def prepare(engine: AsyncEngine) -> None:
    """Durable commits, foreign keys, patience with other writers, and transactions that begin as they mean to go on."""

    @event.listens_for(engine.sync_engine, "do_connect")
    def open_existing(dialect: Dialect, entry: ConnectionPoolEntry, args: list[Any], options: dict[str, Any]) -> None:
        # Whoever comes while the file is away must not leave an empty one in its place.
        args[0] = f"file:{quote(args[0])}?mode=rw"
        options["uri"] = True

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
        return _translated(engine.url, context.original_exception)


def _translated(url: URL, error: BaseException | None) -> Exception | None:
    """What an error of SQLite's says of the file; None: nothing."""
    code = getattr(error, "sqlite_errorname", "")
    if fault := next((fault for name, fault in _FAULTS.items() if code.startswith(name)), None):
        return UnusableDatabase(str(url), fault, _REMEDY)
    return DatabaseAway(str(url), str(error)) if code.startswith(_PASSING) else None


def is_missing(url: URL) -> bool:
    """Whether there is no file yet.

    Raises:
        UnusableDatabase: there is none, but the log of one, with transactions that would be lost.
    """
    path = _path(url)
    if path.exists():
        return False
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        raise UnusableDatabase(str(url), f"the file is not there, but its newest transactions are, in {log}", _REMEDY)
    return True


@asynccontextmanager
async def made(url: URL) -> AsyncIterator[URL]:
    """An empty file aside, to be filled; in the end it is the file at `url`, unless another process was quicker.

    So whatever is found at `url` was whole once: an empty file has been cut off.
    """
    path = _path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    aside.touch()
    try:
        yield url.set(database=str(aside))
        with suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        for leftover in path.parent.glob(f"{aside.name}*"):
            leftover.unlink()


async def verify(url: URL) -> None:
    """Look through the whole file: about a second for each GB that the system has in memory. Nothing is written.

    Raises:
        UnusableDatabase: it is damaged, or no database.
    """
    if not _path(url).is_file():
        raise UnusableDatabase(str(url), _FAULTS["SQLITE_CANTOPEN"], _REMEDY)
    if not _path(url).stat().st_size:
        raise UnusableDatabase(str(url), "the file is empty: it has been cut off", _REMEDY)
    found = await asyncio.to_thread(_looked_through, url)
    if found != "ok":
        raise UnusableDatabase(str(url), f"the file is damaged: {found}", _REMEDY)


def _looked_through(url: URL) -> str:
    # The last connection to close writes the log back into the file, unless it may only read.
    address = f"file:{quote(str(_path(url)))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, timeout=BUSY_TIMEOUT_MS / 1000, uri=True)) as connection:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        raise _translated(url, error) or error from error


async def write_ahead(engine: AsyncEngine) -> None:
    """Switch the file to a write-ahead log, which stays with it.

    SQLite does not wait when two connections switch a file at once (each could wait for the other), so this does.
    """
    attempts = BUSY_TIMEOUT_MS // 50
    for attempt in range(1, attempts + 1):
        try:
            async with engine.connect() as connection:
                await connection.execution_options(begin=_BARE)
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
        except DatabaseAway:
            if attempt == attempts:
                raise
            await asyncio.sleep(0.05)


def _path(url: URL) -> Path:
    return Path(url.database or "")
