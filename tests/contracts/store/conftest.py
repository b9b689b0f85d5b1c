"""The databases that the contract holds for."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.store.database import Database
from tests.postgres import database, emptied

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which database it is."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database that there is not yet, or that has no tables."""
    if kind == "sqlite":
        yield sqlite(tmp_path)
    else:
        with database(request.getfixturevalue("postgres")) as own:
            yield own.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def sqlite_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file to copy."""

    async def make(folder: Path) -> None:
        db = Database.open(sqlite(folder))
        await db.upgrade()
        await db.close()

    folder = tmp_path_factory.mktemp("sqlite")
    asyncio.run(make(folder))
    return folder / "orchestrator.db"


@pytest.fixture
def ready_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with empty tables."""
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_with_tables"), tmp_path)
        return sqlite(tmp_path)
    return emptied(request.getfixturevalue("postgres_with_tables")).render_as_string(hide_password=False)


@pytest_asyncio.fixture
async def db(ready_url: str) -> AsyncIterator[Database]:
    """A database with empty tables."""
    database = Database.open(ready_url)
    yield database
    await database.close()


def sqlite(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/orchestrator.db"
