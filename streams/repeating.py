"""A Faust service that takes one turn after the other, and finishes the one at hand when it is stopped."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable

import structlog
from mode import Service

from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 15.0
"""How long the turn at hand may take when the worker stops; past that it is broken off, and done again by the next."""

AWAY_SECONDS = 1.0
"""How long a database that does not answer is left in peace."""

OnFailure = Callable[[BaseException], None]


class Repeating(Service):
    """Takes turns until it is stopped; where the database does not answer, it takes the turn again later.

    Args:
        on_failure: called with the error that ends it; the worker must then end too.
    """

    def __init__(self, on_failure: OnFailure) -> None:
        super().__init__()
        self._on_failure = on_failure
        self._turns: asyncio.Future[None] | None = None

    @abstractmethod
    async def turn(self) -> None:
        """One turn. Between two turns the service can be stopped; an exception ends it."""

    async def on_started(self) -> None:
        """Begin."""
        self._turns = self.add_future(self._take_turns())

    async def on_stop(self) -> None:
        """Finish the turn at hand."""
        if self._turns is not None:
            await asyncio.wait({self._turns}, timeout=DRAIN_SECONDS)
            self._turns.cancel()
            await asyncio.wait({self._turns})

    async def _take_turns(self) -> None:
        try:
            while not self.should_stop:
                try:
                    await self.turn()
                except DatabaseAway as error:
                    log.error("database_away", service=type(self).__name__, cause=error.cause)
                    await self.pause(AWAY_SECONDS)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed on whole: it ends the worker
            self._on_failure(error)

    async def pause(self, seconds: float, until: asyncio.Event | None = None) -> None:
        """Wait between two turns; stopping, and `until`, end it early."""
        wakers = [self._stopped.wait(), *([until.wait()] if until is not None else [])]
        waiting = [asyncio.ensure_future(each) for each in wakers]
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
