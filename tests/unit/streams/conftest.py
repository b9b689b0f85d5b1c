from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from orchestrator.store.database import Database


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database with its tables."""
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    yield database
    await database.close()
