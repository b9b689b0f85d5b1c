"""What every command speaks through: its settings, Kafka, the store, its two streams, and how it ends when something is
wrong."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from confluent_kafka import KafkaException
from rich.console import Console

from schemas.base import parse_instant
from streams.run_folder import NotRunning, RunFolder
from streams.settings import Settings, WrongSettings

# What is needed beyond this is imported when it is called: `--help` must not load the store.

if TYPE_CHECKING:
    from orchestrator.store.database import Database

WRONG_USE = 2
INTERRUPTED = 130
T = TypeVar("T")

console = Console()
errors = Console(stderr=True)


def fail(message: str, code: int = 1) -> typer.Exit:
    """Say on standard error what is wrong; raise what is returned."""
    errors.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    return typer.Exit(code)


def instant(text: str) -> datetime:
    """A time as a person gives it."""
    try:
        return parse_instant(text)
    except ValueError as error:
        raise fail(f"{text} {error}", WRONG_USE) from None


def settings() -> Settings:
    """The settings in the environment; every fault in them at once ends the program with 2."""
    try:
        return Settings.read(os.environ)
    except WrongSettings as error:
        raise fail("\n".join(("wrong settings:", *(f"  {fault}" for fault in error.faults))), WRONG_USE) from None


def connection(chosen: Settings) -> dict[str, Any]:
    """How to reach Kafka: the cluster of the settings, or the broker of the copy that runs on DATA_DIR."""
    from streams import kafka

    try:
        # What goes wrong is said in our own words; librdkafka's lines would come between.
        return kafka.client_config(chosen, RunFolder(chosen.data_dir)) | {"log_level": 0}
    except NotRunning as error:
        raise fail(str(error)) from None


@contextmanager
def broker_troubles() -> Iterator[None]:
    """Say in one line that the broker does not answer; Ctrl-C ends with 130, as shells have it."""
    try:
        yield
    except KafkaException as error:
        raise fail(f"Kafka does not answer: {error.args[0].str()}") from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def asked(ask: Callable[["Database"], Awaitable[T]]) -> T:
    """What the store of the settings answers; where it cannot be used, the program ends with the reason."""
    from sqlalchemy.exc import SQLAlchemyError

    from orchestrator.store.database import Database
    from orchestrator.store.errors import DatabaseAway, UnusableDatabase

    async def answer() -> T:
        database = Database.open(settings().store_url)
        try:
            if database.is_missing:
                raise fail(f"there is no database at {database.url} yet: `orchestrator up` makes it")
            return await ask(database)
        finally:
            await database.close()

    try:
        return asyncio.run(answer())
    except (SQLAlchemyError, UnusableDatabase, DatabaseAway) as error:
        raise fail(f"the database cannot be asked: {error}") from None
