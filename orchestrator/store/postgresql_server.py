"""What is special about PostgreSQL: a server that may be away, and that must not wait for whoever has stopped."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.store.errors import DatabaseAway, UnusableDatabase

CONNECT_SECONDS = 10.0
LOCK_TIMEOUT_MS = 30_000
"""How long a writer waits for a row before it gives up."""
IDLE_TIMEOUT_MS = 10_000
"""How long a transaction may ask nothing before the server rolls it back: a process that was stopped in the middle of
one must not keep its rows, or its lease, from the others."""

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of a transaction that only reads."""
OPTIONS: dict[str, Any] = {
    # A connection from before the server was started again is found out before it is used.
    "pool_pre_ping": True,
    "connect_args": {
        "timeout": CONNECT_SECONDS,
        "server_settings": {
            "application_name": "ray-orchestrator",
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
        },
    },
}
"""Of the engine."""

_REFUSALS = {
    "28000": "the server does not let this user in",
    "28P01": "the password is wrong",
    "3D000": "the server has no database of this name",
}
"""By SQLSTATE: what trying again does not mend."""
_PASSING = ("53", "55P03", "57P", "58")
"""What SQLSTATEs begin with that trying again may mend: the server has no room, somebody else keeps a row for very
long, the server is being stopped, its disk does not answer."""


def address(url: URL) -> URL:
    """The address with the driver that is used here, and its word for what other drivers call `sslmode`."""
    words = {"ssl" if word == "sslmode" else word: said for word, said in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=words)


def prepare(engine: AsyncEngine) -> None:
    """Errors that say whether trying again may help."""

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, args: tuple[Any, ...], options: dict[str, Any]
    ) -> DBAPIConnection:
        try:
            return dialect.connect(*args, **options)
        except (OSError, TimeoutError) as error:
            raise DatabaseAway(str(engine.url), str(error) or "it took too long") from error
        except Exception as error:
            state = getattr(error, "sqlstate", None)
            if state is None:
                raise
            if state in _REFUSALS:
                remedy = "Mend DATABASE_URL, or what the server knows of it."
                raise UnusableDatabase(str(engine.url), _REFUSALS[state], remedy) from error
            raise DatabaseAway(str(engine.url), str(error)) from error

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        # The pool itself replaces a connection that has gone.
        lost = context.is_disconnect and not context.is_pre_ping
        state = getattr(context.original_exception, "sqlstate", None) or ""
        if lost or state.startswith(_PASSING):
            return DatabaseAway(str(engine.url), str(context.original_exception))
        return None
