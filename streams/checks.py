"""What readiness depends on, one check each: answers None, or why not."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.api.app import Check
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from streams.run_folder import RunFolder

_SECONDS = 3.0


def broker_answers(config: Mapping[str, Any]) -> Check:
    """The broker tells its topics."""

    def ask() -> None:
        AdminClient(dict(config) | {"log_level": 0}).list_topics(timeout=_SECONDS)

    async def check() -> str | None:
        try:
            await asyncio.to_thread(ask)
        except KafkaException as error:
            return f"no answer from Kafka at {config['bootstrap.servers']}: {error.args[0].str()}"
        return None

    return check


def store_answers(database: Database) -> Check:
    """The database answers a query."""

    async def check() -> str | None:
        try:
            async with database.snapshot() as tx:
                await tx.execute(text("SELECT 1"))
        except (SQLAlchemyError, UnusableDatabase, DatabaseAway) as error:
            return f"the database does not answer: {error}"
        return None

    return check


def ray_answers(address: str) -> Check:
    """Something listens where Ray's head is; whether trials run, the worker tells."""
    host, _, port = address.removeprefix("ray://").rpartition(":")

    async def check() -> str | None:
        try:
            async with asyncio.timeout(_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            return f"no answer from Ray at {address}: {error or 'too slow'}"
        writer.close()
        return None

    return check


def worker_moves(folder: RunFolder, clock: Callable[[], datetime]) -> Check:
    """The worker runs, and its offsets advance while there is lag."""

    async def check() -> str | None:
        if folder.running("worker") is None:
            return "the worker does not run, or is not ready"
        progress = folder.progress()
        return "the worker has not said how far it is" if progress is None else progress.fault(clock())

    return check
