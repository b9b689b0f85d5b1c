"""SQLite files: durable, shared, and never replaced when they cannot be read."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import JSON, insert, literal, select, text
from sqlalchemy.exc import StatementError

from orchestrator.store.database import BUSY_TIMEOUT_MS, Database
from orchestrator.store.errors import UnusableDatabase
from orchestrator.store.tables import sequences
from tests.waiting import connections_end


def _at(path: Path) -> Database:
    return Database.open(f"sqlite+aiosqlite:///{path}")


async def _refused(path: Path) -> UnusableDatabase:
    db = _at(path)
    with pytest.raises(UnusableDatabase) as refused:
        await db.upgrade()
    await db.close()
    await connections_end()
    return refused.value


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _broken_page(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.commit()
    kept = bytearray(path.read_bytes())
    kept[4096:] = b"\xff" * len(kept[4096:])
    path.write_bytes(kept)


def _other_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE prices (ticker TEXT)")
        connection.commit()


def _newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
        connection.commit()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (_noise, "no SQLite database"),
        (_broken_page, "damaged"),
        (_other_program, "another program"),
        (_newer_version, "newer version"),
        (Path.mkdir, "cannot be opened"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], fault: str
) -> None:
    path = tmp_path / "orchestrator.db"
    make(path)
    refused = await _refused(path)
    assert fault in refused.fault
    assert str(path) in str(refused)
    assert "Nothing was changed" in str(refused)
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".db"] == ["orchestrator.db"]


async def test_noise_is_left_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    _noise(path)
    before = path.read_bytes()
    await _refused(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_named_without_an_upgrade_too(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    _noise(path)
    db = _at(path)
    with pytest.raises(UnusableDatabase, match="no SQLite database"):
        async with db.snapshot() as tx:
            await tx.execute(select(sequences))
    await db.close()


async def test_a_missing_file_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "orchestrator.db"
    db = _at(path)
    await db.upgrade()
    await db.close()
    assert path.is_file()


async def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    db = _at(tmp_path / "orchestrator.db")
    await db.upgrade()
    for opened in (db.transaction, db.snapshot):
        async with opened() as tx:
            found = {
                name: await tx.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": BUSY_TIMEOUT_MS}
    await db.close()


async def test_a_number_that_json_cannot_say_is_refused(tmp_path: Path) -> None:
    db = _at(tmp_path / "orchestrator.db")
    with pytest.raises(StatementError, match="not JSON compliant"):
        async with db.snapshot() as tx:
            await tx.execute(select(literal({"sharpe_ratio": float("nan")}, JSON)))
    await db.close()


async def test_a_writer_that_is_cancelled_while_it_waits_leaves_the_database_usable(tmp_path: Path) -> None:
    db = _at(tmp_path / "orchestrator.db")
    await db.upgrade()

    async def write(scope: str) -> None:
        async with db.transaction() as tx:
            await tx.execute(insert(sequences), [{"scope": scope, "key": "k", "last": 1}])

    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [{"scope": "first", "key": "k", "last": 1}])
        waiting = asyncio.create_task(write("cancelled"))
        await asyncio.sleep(0.05)
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await write("last")
    async with db.snapshot() as tx:
        assert set(await tx.scalars(select(sequences.c.scope))) == {"first", "last"}
    await db.close()
