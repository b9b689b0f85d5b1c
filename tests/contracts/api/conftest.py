"""The application over ASGI, with a real store and ports that remember."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.api.app import create
from orchestrator.api.ports import Faces
from orchestrator.store.database import Database
from tests.contracts.store.conftest import sqlite, sqlite_with_tables
from tests.support.faces import faces as made
from tests.support.market import fill

__all__ = ["sqlite_with_tables"]


@pytest_asyncio.fixture
async def faces(sqlite_with_tables: Path, tmp_path: Path) -> AsyncIterator[Faces]:
    """Ports around a store that has one of everything."""
    shutil.copy(sqlite_with_tables, tmp_path)
    database = Database.open(sqlite(tmp_path))
    await fill(database)
    yield made(database, tmp_path)
    await database.close()


@pytest_asyncio.fixture
async def client(faces: Faces) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the application."""
    transport = httpx.ASGITransport(create(faces, {}, lambda: b""), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as client:
        yield client


@pytest.fixture(scope="session")
def filled(sqlite_with_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that has tables."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(sqlite_with_tables, folder)
    return folder
