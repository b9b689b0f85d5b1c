"""Ending asyncio tasks, and calls that block."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and return when all have ended; how they ended is for others to ask."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(call: Callable[[], T]) -> T:
    """What a call returns; when cancelled, wait for it all the same, since a thread cannot be stopped."""
    called = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(called)
    except asyncio.CancelledError:
        await asyncio.wait({called})
        raise
