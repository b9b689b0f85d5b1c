"""A bare connection to a database that may have no tables yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction on the database, committed at the end."""
    engine = create_async_engine(make_url(url))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()
