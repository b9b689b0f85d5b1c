"""A PostgreSQL server: how it is reached, and what is said when it is not."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import URL, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from orchestrator.store.postgresql_server import IDLE_TIMEOUT_MS, LOCK_TIMEOUT_MS
from orchestrator.store.tables import sequences
from tests.postgres import emptied

_ROW = {"scope": "a", "key": "b", "last": 7}


@pytest_asyncio.fixture
async def db(postgres_with_tables: URL) -> AsyncIterator[Database]:
    database = Database.open(await asyncio.to_thread(emptied, postgres_with_tables))
    yield database
    await database.close()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
    ],
)
async def test_addresses_of_other_programs_are_understood(given: str, used: str) -> None:
    database = Database.open(given)
    assert database.url.render_as_string(hide_password=False) == used
    await database.close()


async def test_nobody_waits_for_ever_for_whoever_has_stopped_in_the_middle(db: Database) -> None:
    for opened in (db.transaction, db.snapshot):
        async with opened() as tx:
            found = {
                name: await tx.scalar(text(f"SHOW {name}"))
                for name in ("lock_timeout", "idle_in_transaction_session_timeout")
            }
        seconds = {"lock_timeout": LOCK_TIMEOUT_MS, "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MS}
        assert found == {name: f"{each // 1000}s" for name, each in seconds.items()}


async def _throw_out(db: Database, connection: int) -> None:
    """End a connection, as the end of the server would."""
    other = Database.open(db.url)
    async with other.transaction() as tx:
        await tx.execute(select(func.pg_terminate_backend(connection)))
    await other.close()


async def _own(tx: AsyncSession) -> int:
    return int((await tx.execute(select(func.pg_backend_pid()))).scalar_one())


async def test_whom_the_server_throws_out_in_the_middle_has_written_nothing_and_may_try_again(db: Database) -> None:
    async def write() -> None:
        async with db.transaction() as tx:
            await tx.execute(insert(sequences), [_ROW])
            await _throw_out(db, await _own(tx))

    with pytest.raises(DatabaseAway, match="does not answer"):
        await write()
    async with db.transaction() as tx:
        assert (await tx.execute(select(sequences))).all() == []
        await tx.execute(insert(sequences), [_ROW])


async def test_whoever_is_kept_waiting_for_a_row_for_too_long_may_try_again(db: Database) -> None:
    async def wait_for_it() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("SET LOCAL lock_timeout = 10"))
            await tx.execute(select(sequences).with_for_update())

    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [_ROW])
    async with db.transaction() as tx:
        await tx.execute(select(sequences).with_for_update())
        with pytest.raises(DatabaseAway, match="lock timeout"):
            await wait_for_it()


async def test_a_server_that_was_started_again_is_found_again(db: Database) -> None:
    async with db.snapshot() as tx:
        kept = await _own(tx)
    await _throw_out(db, kept)
    async with db.snapshot() as tx:
        assert (await tx.execute(select(sequences))).all() == []


async def _refused(url: URL) -> UnusableDatabase | DatabaseAway:
    database = Database.open(url)
    with pytest.raises((UnusableDatabase, DatabaseAway)) as refused:
        await database.upgrade()
    await database.close()
    error = refused.value
    assert isinstance(error, UnusableDatabase | DatabaseAway)
    return error


async def test_a_server_that_does_not_listen_is_away(postgres: URL) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        refused = await _refused(URL.create("postgresql", "me", "secret", "127.0.0.1", reserved.getsockname()[1], "d"))
    assert isinstance(refused, DatabaseAway)
    assert "secret" not in str(refused)


async def test_a_database_that_the_server_does_not_have_is_named(postgres: URL) -> None:
    refused = await _refused(postgres.set(database="nowhere"))
    assert isinstance(refused, UnusableDatabase)
    assert "no database of this name" in str(refused)
    assert "nowhere" in str(refused)
