"""The application over ASGI, with a real store and ports that remember."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.api.app import create
from orchestrator.api.ports import Faces
from orchestrator.store.database import Database
from tests.contracts.store.conftest import sqlite
from tests.support.faces import faces as made
from tests.support.market import fill


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with one of everything, to copy."""

    async def make(folder: Path) -> None:
        database = Database.open(sqlite(folder))
        await database.upgrade()
        await fill(database)
        await database.close()

    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(make(folder))
    return folder / "orchestrator.db"


@pytest_asyncio.fixture
async def faces(filled: Path, tmp_path: Path) -> AsyncIterator[Faces]:
    """Ports around a store that has one of everything."""
    shutil.copy(filled, tmp_path)
    database = Database.open(sqlite(tmp_path))
    yield made(database, tmp_path)
    await database.close()


@pytest_asyncio.fixture
async def client(faces: Faces) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the application."""
    transport = httpx.ASGITransport(create(faces, {}, lambda: b""), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as client:
        yield client
