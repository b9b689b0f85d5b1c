"""Detectors on a real broker: every live tick counts once, whichever worker watches, from when there is a policy on."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.core.drift import Watch
from orchestrator.store import retraining, watches
from orchestrator.store.database import Database
from schemas.envelope import encode
from schemas.ticks import FeatureTick
from schemas.topics import Topic
from serving.artifacts import Artifacts
from streams import watching
from streams.leading import Leadership
from streams.profiles import Profiles
from streams.watching import Watching
from streams.worker import utc_now
from tests.contracts.store.makers import run_out
from tests.integration.topics import new_topic, produce
from tests.unit.streams.watched import NAMES, WATCHING, rows, serves, ticks

pytestmark = pytest.mark.slow

PATIENCE = 30.0


async def test_workers_that_follow_one_another_count_every_tick_once_since_there_is_a_policy(
    kafka_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAUSE_SECONDS", 0.05)
    failures: list[BaseException] = []
    topic = new_topic(kafka_config)
    everything = ticks(rows(30))

    def worker(holder: str, database: Database) -> Watching:
        leadership = Leadership(database, "watching", holder, timedelta(minutes=1))
        kept = Profiles(Artifacts(tmp_path / "artifacts"))
        return Watching(kafka_config, leadership, kept, utc_now, failures.append, topic)

    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    await serves(database, tmp_path, 1)
    send(kafka_config, topic, everything[:7])
    first, second = worker("first", database), worker("second", database)
    await first.start()
    await second.start()
    async with database.transaction() as tx:
        # What came before the policy does not count.
        await asyncio.sleep(0.05)
        await retraining.set_policy(tx, "alpha", WATCHING, "by-hand", utc_now())
    await until(database, lambda found, read_to: sum(read_to.values()) == 7)
    send(kafka_config, topic, everything[7:12])
    await until(database, lambda found, read_to: bars(found) == 5)
    await run_out(database, "watching")
    send(kafka_config, topic, everything[9:20])
    await until(database, lambda found, read_to: bars(found) == 13)
    await first.stop()
    send(kafka_config, topic, everything[15:30])
    await until(database, lambda found, read_to: bars(found) == 23)
    await second.stop()
    await database.close()
    assert failures == []


def send(config: dict[str, Any], topic: Topic, sent: Sequence[FeatureTick]) -> None:
    produce(config, topic, [(1, encode(each)) for each in sent])


def bars(found: dict[str, Watch]) -> int:
    return sum(int(np.sum(each.counts)) for each in found.values()) // len(NAMES)


async def until(database: Database, holds: Any) -> None:
    """Wait until what was seen, and how far was read, are so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with database.snapshot() as tx:
                if holds(await watches.of(tx, "alpha", 1), await watches.read(tx)):
                    return
            await asyncio.sleep(0.05)
