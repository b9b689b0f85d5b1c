"""The OpenAPI document holds: whatever follows from it is sent to a server, and each answer is what it says."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings

from orchestrator.api.app import create
from orchestrator.store.database import Database
from streams import ports
from tests.contracts.store.conftest import sqlite
from tests.support.faces import faces

EXAMPLES = 4
CONFIG = schemathesis.Config.from_dict(
    {
        "seed": 7,
        # What a schema allows the judge may still refuse: a ticker without bars, an algorithm that is not installed.
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "422"]}},
    }
)


# A stream of events has no end; what it is made of has tests of its own.
document = create(faces(Database.open("sqlite+aiosqlite://")), {}, lambda: b"").openapi()
schema = schemathesis.openapi.from_dict(document, config=CONFIG).exclude(path="/events")


@pytest.fixture(scope="module")
def address(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server listens that has one of everything in its store."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(filled, folder)
    database = Database.open(sqlite(folder))
    app = create(faces(database, folder), {}, lambda: b"")
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))

    async def serve() -> None:
        await server.serve([listening])
        await database.close()

    # Who connects from now on waits for an answer, and gets one.
    listening = ports.bind(0, "127.0.0.1")
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port = listening.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[*HealthCheck],
)
def test_each_answer_is_what_the_document_says(case: schemathesis.Case[Any], address: str) -> None:
    case.call_and_validate(base_url=address)
