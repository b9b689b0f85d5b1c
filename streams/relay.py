"""Publishes the outbox to Kafka in order: what the store has committed is told at least once."""

from collections.abc import Callable
from datetime import datetime

import structlog

from orchestrator.store import outbox
from orchestrator.store.errors import DatabaseAway, LeaseLost
from schemas.envelope import read_headers
from schemas.trials import TrialCached, TrialCompleted, TrialFailed, TrialStoppedEarly
from streams.leading import Leadership, Leading
from streams.metrics import TRIALS
from streams.publisher import NotDelivered, Outgoing, Publishing
from streams.repeating import OnFailure

log = structlog.get_logger(__name__)

BATCH = 1000
PAUSE_SECONDS = 0.1
PAUSE_AFTER_FAILURE_SECONDS = 1.0
ENDS = {
    event.TYPE: event.TYPE.removeprefix("trial.")
    for event in (TrialCompleted, TrialFailed, TrialStoppedEarly, TrialCached)
}
"""How a trial ended, by the type of the event that says so: where its driver runs, nobody reads what is counted."""


class OutboxRelay(Leading):
    """Carries events from the outbox to their topics, one batch at a time; of all workers, one does.

    A batch is marked as published after the broker has acknowledged all of it. When it has not, the same batch is sent
    again: consumers de-duplicate by key and sequence.
    """

    def __init__(
        self, leadership: Leadership, publisher: Publishing, clock: Callable[[], datetime], on_failure: OnFailure
    ) -> None:
        super().__init__(leadership, on_failure)
        self._publisher = publisher
        self._clock = clock

    async def act(self) -> None:
        """Carry a batch; rest when there is little to carry, and longer when the broker does not answer."""
        try:
            carried = await self.carry_batch()
        except NotDelivered as error:
            log.error("outbox_not_delivered", missing=error.missing, topics=error.topics, cause=error.cause)
            await self.pause(PAUSE_AFTER_FAILURE_SECONDS)
        else:
            if carried < BATCH:
                await self.pause(PAUSE_SECONDS)

    async def finish(self) -> None:
        """Publish what is pending, as far as the broker answers; the rest stays in the outbox."""
        try:
            while await self.carry_batch():
                pass
        except NotDelivered as error:
            log.error("outbox_left_undelivered", missing=error.missing, topics=error.topics, cause=error.cause)
        except DatabaseAway as error:
            log.error("outbox_left_unread", cause=error.cause)
        except LeaseLost:
            log.warning("outbox_left_to_another")

    async def carry_batch(self) -> int:
        """Publish what is pending, up to one batch, and say how many events that was.

        Raises:
            NotDelivered: the broker did not acknowledge all of them; none is marked.
            LeaseLost: another worker publishes; none is marked.
        """
        async with self._database.snapshot() as tx:
            pending = await outbox.pending(tx, BATCH)
        if not pending:
            return 0
        # Whoever stood still until now would tell after what others have told since.
        self._leadership.insist()
        await self._publisher.publish(
            [Outgoing(row.topic, row.key.encode(), row.value, tuple(row.headers)) for row in pending]
        )
        async with self._database.transaction() as tx:
            await outbox.mark_published(tx, [row.id for row in pending], self._clock())
        for row in pending:
            if (kind := read_headers(row.headers).type) in ENDS:
                TRIALS.labels(ENDS[kind]).inc()
        return len(pending)
