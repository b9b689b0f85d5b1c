"""How what the tick path has decided comes to the broker: at least once, or exactly once."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from streams.publisher import NotDelivered, Outgoing, Publishing
from streams.source import Record

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""How long a broker is left alone that did not acknowledge."""


class Delivery(Protocol):
    """Brings parts of batches to the broker, in the order in which it is called, and does not give up."""

    async def send(self, first: Sequence[Outgoing], then: Sequence[Outgoing]) -> None:
        """Take over a part of a batch; nothing of `then` is durable before all of `first` is."""
        ...

    async def finish(self, records: Sequence[Record]) -> None:
        """Return when everything that was sent of the batch of these records is durable."""
        ...


class AtLeastOnce:
    """Each part is durable on its own: whoever reads sees it at once, and again where its batch is read again.

    Args:
        publisher: takes records to the broker.
    """

    def __init__(self, publisher: Publishing) -> None:
        self._publisher = publisher
        self._in_turn = asyncio.Lock()

    async def send(self, first: Sequence[Outgoing], then: Sequence[Outgoing]) -> None:
        """Publish `first`, then `then`."""
        async with self._in_turn:
            await self._published(first)
            await self._published(then)

    async def finish(self, records: Sequence[Record]) -> None:
        """Return when the parts before are durable."""
        async with self._in_turn:
            return

    async def _published(self, records: Sequence[Outgoing]) -> None:
        while True:
            try:
                await self._publisher.publish(records)
            except NotDelivered as error:
                log.error("not_delivered", topics=error.topics, missing=error.missing, cause=error.cause)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
