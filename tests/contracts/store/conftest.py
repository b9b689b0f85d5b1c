"""The databases that the contract holds for; another one is another line in DATABASES."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.store.database import Database

DATABASES = ["sqlite+aiosqlite:///{directory}/orchestrator.db"]


@pytest.fixture(params=DATABASES, ids=lambda url: url.split(":")[0])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    return str(request.param).format(directory=tmp_path)


@pytest_asyncio.fixture
async def db(url: str) -> AsyncIterator[Database]:
    """An empty database with its tables."""
    database = Database.open(url)
    await database.upgrade()
    yield database
    await database.close()
