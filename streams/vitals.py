"""What the worker says of itself every few seconds: how far it is, how far behind, and what waits in the outbox."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from confluent_kafka import KafkaException

from orchestrator.store import outbox
from orchestrator.store.database import Database
from schemas.topics import FEATURE_TICKS, SEARCH_REQUESTS
from streams import kafka
from streams.metrics import LAG, OUTBOX_AGE_SECONDS, OUTBOX_EVENTS
from streams.progress import Progress
from streams.repeating import OnFailure, Repeating
from streams.run_folder import RunFolder
from streams.source import group_of

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0
CONSUMED: dict[str, str | None] = {topic.name: group_of(topic) for topic in (SEARCH_REQUESTS, FEATURE_TICKS)}


class Vitals(Repeating):
    """Measures lag, progress and backlog."""

    def __init__(
        self,
        config: Mapping[str, Any],
        database: Database,
        folder: RunFolder,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
    ) -> None:
        super().__init__(on_failure)
        self._config = config
        self._database = database
        self._folder = folder
        self._clock = clock
        self._progress: Progress | None = None

    async def turn(self) -> None:
        """Measure once; a broker that does not answer is told, and leaves the worker standing still."""
        try:
            positions = await asyncio.to_thread(kafka.positions, self._config, CONSUMED)
        except KafkaException as error:
            log.warning("lag_unknown", error=str(error.args[0]))
        else:
            self._say(positions)
        async with self._database.snapshot() as tx:
            count, oldest = await outbox.backlog(tx)
        OUTBOX_EVENTS.set(count)
        OUTBOX_AGE_SECONDS.set(0 if oldest is None else (self._clock() - oldest).total_seconds())
        await self.pause(PAUSE_SECONDS)

    def _say(self, positions: Sequence[kafka.Position]) -> None:
        for each in positions:
            LAG.labels(each.topic, each.partition).set(each.lag)
        position, lag = sum(each.end - each.lag for each in positions), sum(each.lag for each in positions)
        if self._progress is None:
            self._progress = Progress.first(position, lag, self._clock())
        else:
            self._progress = self._progress.then(position, lag, self._clock())
        self._folder.mark_progress(self._progress)
