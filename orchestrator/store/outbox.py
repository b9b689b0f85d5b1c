"""The outbox: events on their way to Kafka, written in the transaction of the change they tell of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.sequences import take_sequences
from orchestrator.store.tables import outbox
from schemas.base import Message
from schemas.envelope import Headers, encode, headers_of
from schemas.topics import Topic

SOURCE = "/orchestrator"
"""The CloudEvents source of everything the store says."""

Event = TypeVar("Event", bound=Message)


@dataclass(frozen=True)
class OutboxRow:
    """One event as it goes to Kafka."""

    id: int
    message_id: str
    topic: str
    key: str
    value: bytes
    headers: Headers
    created_at: datetime


async def append(
    tx: AsyncSession, topic: Topic, key: str, event: Event, now: datetime, traceparent: str | None = None
) -> Event:
    """Queue `event` and return it with its `sequence`: the next of (topic, key)."""
    (numbered,) = await append_all(tx, topic, key, [event], now, traceparent)
    return numbered


async def append_all(
    tx: AsyncSession, topic: Topic, key: str, events: Sequence[Event], now: datetime, traceparent: str | None = None
) -> tuple[Event, ...]:
    """Queue `events` in the order given and return them with their sequences, which follow one another."""
    if not events:
        return ()
    first = await take_sequences(tx, topic.name, key, len(events))
    numbered = tuple(event.model_copy(update={"sequence": first + n}) for n, event in enumerate(events))
    rows = []
    for sequence, event in enumerate(numbered, first):
        message_id = f"{topic.name}:{key}:{sequence}"
        headers = headers_of(event, message_id=message_id, source=SOURCE, time=now, traceparent=traceparent)
        rows.append(
            {
                "message_id": message_id,
                "topic": topic.name,
                "key": key,
                "value": encode(event),
                "headers": headers,
                "created_at": now,
            }
        )
    await tx.execute(insert(outbox), rows)
    return numbered


async def order(tx: AsyncSession, topic: Topic, key: str, message_id: str, message: Message, now: datetime) -> bool:
    """Queue a request or a command, whose id says what it is: asked for twice, it is carried out once.

    False: it is queued already.
    """
    row = {
        "message_id": f"{topic.name}:{message_id}",
        "topic": topic.name,
        "key": key,
        "value": encode(message),
        "headers": headers_of(message, message_id=message_id, source=SOURCE, time=now),
        "created_at": now,
    }
    return bool(await insert_new(tx, outbox, [row]))


async def pending(tx: AsyncSession, limit: int) -> list[OutboxRow]:
    """The oldest unpublished events, at most `limit`, in the order in which they must be published.

    Of one key that is the order of its sequences, since whoever writes the next one waits for the last one's commit.
    """
    columns = [outbox.c[name] for name in OutboxRow.__dataclass_fields__]
    rows = await tx.execute(select(*columns).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id).limit(limit))
    return [OutboxRow(**row) for row in rows.mappings()]


async def mark_published(tx: AsyncSession, ids: Sequence[int], now: datetime) -> None:
    """Kafka has acknowledged the events with these `ids`."""
    await tx.execute(update(outbox).where(outbox.c.id.in_(ids)).values(published_at=now))


async def backlog(tx: AsyncSession) -> tuple[int, datetime | None]:
    """How many events wait, and since when the oldest one has."""
    waiting = outbox.c.published_at.is_(None)
    count, oldest = (await tx.execute(select(func.count(), func.min(outbox.c.created_at)).where(waiting))).one()
    return count, oldest


async def prune(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete what was published before that time, at most `limit` events, and return how many that were."""
    oldest = select(outbox.c.id).where(outbox.c.published_at < before).order_by(outbox.c.id).limit(limit)
    gone: Any = await tx.execute(delete(outbox).where(outbox.c.id.in_(oldest)))
    return int(gone.rowcount)
