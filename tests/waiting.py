"""Waiting for something to become true, in tests of processes."""

import asyncio
import threading
import time
from collections.abc import Callable

PATIENCE = 60.0


def eventually(true: Callable[[], bool]) -> None:
    """Return when it is true; fail when it has not become true in a minute."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)


async def connections_end() -> None:
    """Return when the SQLite driver's threads have ended; every database must be closed.

    A file that cannot be opened leaves its thread to end by itself, and that thread reports to this event loop.
    """
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)
