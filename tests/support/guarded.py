"""REST and the dashboard behind the guard, on a store of their own.

Run as `python -m tests.support.guarded PORT KEY FOLDER`.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn

from orchestrator.api import pages
from orchestrator.api.app import create
from orchestrator.api.guard import Guard, Rules
from orchestrator.core.access import LOOPBACK
from orchestrator.store.database import Database
from tests.support.faces import faces

PER_MINUTE = 12
"""So few that a page could not even load its own files if those were counted."""


async def serve(port: int, key: str, folder: Path) -> None:
    """Answer until SIGTERM."""
    database = Database.open(f"sqlite+aiosqlite:///{folder}/orchestrator.db")
    await database.upgrade()
    given = faces(database, folder)
    app = create(given, {}, lambda: b"")
    pages.mount(app, given)
    guarded = Guard(app, Rules(key, LOOPBACK, 2**20, PER_MINUTE))
    await uvicorn.Server(uvicorn.Config(guarded, port=port, log_level="warning", lifespan="on")).serve()
    await database.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
