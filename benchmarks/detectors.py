"""What detectors cost the tick path: the same service with and without a policy that has every tick watched."""

import asyncio
import sqlite3
import statistics
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from orchestrator.store import retraining
from orchestrator.store.database import Database
from schemas.policies import DriftRule, OutlierRule, Policy
from schemas.topics import FEATURE_TICKS

TURNS = 3
"""Of each of the two, by turns: what else the machine does befalls both."""
PATIENCE = 600.0
# Nothing is searched for meanwhile: that is another cost.
WATCHING = Policy(drift=DriftRule(windows=10), outliers=OutlierRule(share=1.0), trials_per_day=1)


class Worked(Protocol):
    """A running service."""

    @property
    def bench(self) -> Any: ...
    def throughput(self, ticks: int) -> tuple[float, dict[int, int]]: ...


def detectors(service: Worked, data: Path, ensemble: str, ticks: int) -> dict[str, Any]:
    """Ticks a second with and without detectors, the share that is lost, and how long they take to catch up."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    behind = []
    for turn in range(2 * TURNS):
        watched = turn % 2 == 1
        asyncio.run(_policy(data, ensemble, watched=watched))
        _until(lambda watched=watched: bool(_read(data)) is watched)
        rate, _ = service.throughput(ticks)
        rates[watched].append(rate)
        if watched:
            begun = time.monotonic()
            ends = service.bench.ends(FEATURE_TICKS.name)
            _until(lambda ends=ends: _begun(_read(data)) == _begun(ends))
            behind.append(time.monotonic() - begun)
        print(f"detectors            {'with' if watched else 'without':20} {rate:10,.0f} ticks/s", flush=True)
    without, beside = statistics.median(rates[False]), statistics.median(rates[True])
    lost = 1 - beside / without
    return {"without": without, "ours": beside, "lost": lost, "seconds_behind": statistics.median(behind)}


async def _policy(data: Path, ensemble: str, *, watched: bool) -> None:
    database = Database.open(f"sqlite+aiosqlite:///{data / 'orchestrator.db'}")
    try:
        async with database.transaction() as tx:
            if watched:
                await retraining.set_policy(tx, ensemble, WATCHING, "bench", datetime.now(UTC))
            else:
                await retraining.remove_policy(tx, ensemble)
    finally:
        await database.close()


def _read(data: Path) -> dict[int, int]:
    """Up to which tick of each partition the detectors have read; nothing: they do not."""
    with closing(sqlite3.connect(f"file:{data / 'orchestrator.db'}?mode=ro", uri=True, timeout=30)) as connection:
        return dict(connection.execute('SELECT partition, "next" FROM watch_read').fetchall())


def _begun(places: dict[int, int]) -> dict[int, int]:
    """Without partitions that nothing is in."""
    return {partition: offset for partition, offset in places.items() if offset}


def _until(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the detectors do not get there")
        time.sleep(0.5)
