"""SQLite files: durable, shared, and never replaced when they cannot be read."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import JSON, Connection, create_engine, func, insert, literal, select, text
from sqlalchemy.exc import StatementError

from orchestrator.store import migrations
from orchestrator.store.database import Database
from orchestrator.store.errors import UnusableDatabase
from orchestrator.store.sqlite_file import BUSY_TIMEOUT_MS
from orchestrator.store.tables import sequences
from tests.waiting import connections_end

_PAGE = 4096


def _at(path: Path) -> Database:
    return Database.open(f"sqlite+aiosqlite:///{path}")


def _content(folder: Path) -> dict[str, bytes]:
    """Every file, but what SQLite shares among those that use one."""
    files = (entry for entry in folder.iterdir() if entry.is_file() and not entry.name.endswith("-shm"))
    return {entry.name: content for entry in files if (content := entry.read_bytes()) or entry.suffix == ".db"}


async def _refused(path: Path) -> UnusableDatabase:
    db = _at(path)
    with pytest.raises(UnusableDatabase) as refused:
        await db.upgrade()
    await db.close()
    await connections_end()
    return refused.value


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _filled(path: Path) -> bytearray:
    """A file of this program with a table of many pages, and what it holds."""
    with closing(create_engine(f"sqlite:///{path}").connect()) as connection, connection.begin():
        migrations.upgrade(connection)
        connection.execute(insert(sequences), [{"scope": "s" * 200, "key": str(n), "last": n} for n in range(500)])
    return bytearray(path.read_bytes())


def _garbled_page(path: Path) -> None:
    kept = _filled(path)
    # The last page: nothing that an upgrade looks at is there.
    kept[-_PAGE:] = bytes(range(256)) * (_PAGE // 256)
    path.write_bytes(kept)


def _garbled_header(path: Path) -> None:
    kept = _filled(path)
    kept[:16] = b"\xff" * 16
    path.write_bytes(kept)


def _cut_off(path: Path, size: int) -> None:
    path.write_bytes(_filled(path)[:size])


def _cut_off_beside_its_log(path: Path) -> None:
    """As after a crash: the newest transactions are in the log, and nobody has the file open."""
    _filled(path)
    log = path.with_name(f"{path.name}-wal")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO sequences VALUES ('new', 'new', 1)")
        connection.commit()
        kept, transactions = path.read_bytes(), log.read_bytes()
    path.write_bytes(kept[: 20 * _PAGE])
    log.write_bytes(transactions)


def _log_without_file(path: Path) -> None:
    path.with_name(f"{path.name}-wal").write_bytes(b"transactions")


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
        (_garbled_header, "no SQLite database"),
        (_garbled_page, "damaged"),
        (partial(_cut_off, size=20 * _PAGE), "damaged"),
        (partial(_cut_off, size=20 * _PAGE + 100), "damaged"),
        (partial(_cut_off, size=60), "damaged"),
        (partial(_cut_off, size=0), "cut off"),
        (_cut_off_beside_its_log, "damaged"),
        (_log_without_file, "newest transactions"),
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
    before = _content(tmp_path)
    refused = await _refused(path)
    assert fault in refused.fault
    assert str(path) in str(refused)
    assert "Nothing was changed" in str(refused)
    assert _content(tmp_path) == before


async def test_a_whole_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    _filled(path)
    db = _at(path)
    await db.verify()
    await db.upgrade()
    async with db.snapshot() as tx:
        assert await tx.scalar(select(func.count()).select_from(sequences)) == 500
    await db.close()


async def test_a_page_that_is_garbled_later_is_named_by_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    _garbled_page(path)
    db = _at(path)
    with pytest.raises(UnusableDatabase, match="damaged"):
        async with db.snapshot() as tx:
            await tx.execute(select(sequences))
    await db.close()


async def test_whoever_comes_while_the_file_is_away_leaves_none_in_its_place(tmp_path: Path) -> None:
    db = _at(tmp_path / "orchestrator.db")
    with pytest.raises(UnusableDatabase, match="not there"):
        async with db.transaction() as tx:
            await tx.execute(select(sequences))
    await db.close()
    await connections_end()
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_made_whole_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection) -> None:
        raise LookupError

    monkeypatch.setattr(migrations, "upgrade", fail)
    db = _at(tmp_path / "orchestrator.db")
    with pytest.raises(LookupError):
        await db.upgrade()
    await db.close()
    assert list(tmp_path.iterdir()) == []


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
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


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
    await db.upgrade()
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
