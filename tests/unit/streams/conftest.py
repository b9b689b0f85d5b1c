from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from orchestrator.store.database import Database
from streams.leading import Leadership


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database with its tables."""
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    yield database
    await database.close()


@pytest_asyncio.fixture
async def leadership(db: Database) -> AsyncIterator[Leadership]:
    """Of the only worker, which leads."""
    leadership = Leadership(db, "it", "the worker", timedelta(minutes=1))
    assert await leadership.leads()
    yield leadership
    await leadership.resign()
