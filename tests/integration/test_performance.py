"""Live performance on a real broker: every signal is counted once, whichever worker follows them."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import performance as store
from orchestrator.store.database import Database
from schemas.topics import Topic
from streams import performance
from streams.leading import Leadership
from streams.performance import Performance
from tests.contracts.store.makers import NOW, run_out
from tests.integration.topics import new_topic, produce
from tests.unit.streams.test_performance import account, told, whole, with_alpha

pytestmark = pytest.mark.slow

PATIENCE = 30.0


async def test_workers_that_follow_one_another_count_every_signal_once(
    kafka_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance, "PAUSE_SECONDS", 0.05)
    failures: list[BaseException] = []
    topic = new_topic(kafka_config)

    def worker(holder: str, database: Database) -> Performance:
        leadership = Leadership(database, "performance", holder, timedelta(minutes=1))
        return Performance(kafka_config, leadership, lambda: NOW, failures.append, [topic])

    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    await with_alpha(database, tmp_path)
    values = [value for value in whole() if value is not None]
    say(kafka_config, topic, values[:3])
    first, second = worker("first", database), worker("second", database)
    await first.start()
    await second.start()
    await has_read(database, 3)
    assert (await account(database)).signals == 3
    # Whoever comes next begins where the one before it ended, and is told again what that one has counted.
    await run_out(database, "performance")
    say(kafka_config, topic, values[1:5])
    await has_read(database, 7)
    assert (await account(database)).signals == 5
    await first.stop()
    say(kafka_config, topic, [b"{", *values])
    await has_read(database, 14)
    assert (await account(database)).signals == 6
    await second.stop()
    third = worker("third", database)
    await third.start()
    say(kafka_config, topic, values)
    await has_read(database, 20)
    await third.stop()
    assert (await account(database)).signals == len(values)
    assert (await told(database))[-1].net_return != 0
    await database.close()
    assert failures == []


def say(config: dict[str, Any], topic: Topic, values: list[bytes]) -> None:
    produce(config, topic, [(1, value) for value in values])


async def has_read(database: Database, records: int) -> None:
    """Wait until so many records of the topic are in the books."""

    async def read() -> list[int]:
        async with database.snapshot() as tx:
            return [*(await store.read(tx)).values()]

    async with asyncio.timeout(PATIENCE):
        while True:
            if await read() == [records]:
                return
            await asyncio.sleep(0.05)
