"""What happens, as it happens: server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from orchestrator.api.asking import Given
from orchestrator.api.ports import Event, Feed
from schemas.base import Name, format_instant, pattern_of

router = APIRouter(tags=["events"])

SILENCE_SECONDS = 15.0
"""After so much of it a comment is sent, so that whoever is between keeps the connection open."""
TopicName = Literal[
    "experiment-events",
    "trial-events",
    "ensemble-events",
    "retraining-events",
    "signals",
    "signals.replay",
    "signals.paper",
    "signals.shadow",
    "control",
]
_TOPICS: tuple[TopicName, ...] = get_args(TopicName)


@router.get(
    "/events",
    response_class=StreamingResponse,
    summary="What happens, as it happens",
    description="Each event's type is its topic, and its data the message as it lies there.",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events"}},
)
async def events(
    faces: Given,
    topic: Annotated[list[TopicName] | None, Query(description="Only these; may be repeated.")] = None,
    experiment: Annotated[str | None, Query(pattern=pattern_of(Name), description="Only what tells of it.")] = None,
    ensemble: Annotated[str | None, Query(pattern=pattern_of(Name), description="Only what tells of it.")] = None,
    recent: Annotated[int, Query(ge=0, le=300, description="Begin with so many of those before.")] = 0,
) -> StreamingResponse:
    about = {"experiment": experiment, "ensemble": ensemble}
    wanted = {name: value for name, value in about.items() if value is not None}
    lines = told(faces.feed, tuple(topic or _TOPICS), wanted, recent)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def told(feed: Feed, topics: tuple[str, ...], wanted: dict[str, str], recent: int) -> AsyncGenerator[str, None]:
    """Events in the format of server-sent events, until whoever reads leaves."""
    async with feed.follow(topics) as coming:
        yield ": begins\n\n"
        for event in reversed(feed.recent(topics, recent)):
            if _is_wanted(event, wanted):
                yield _written(event)
        upcoming = asyncio.ensure_future(anext(coming))
        try:
            while True:
                done, _ = await asyncio.wait([upcoming], timeout=SILENCE_SECONDS)
                if not done:
                    yield ": silence\n\n"
                    continue
                event, upcoming = upcoming.result(), asyncio.ensure_future(anext(coming))
                if _is_wanted(event, wanted):
                    yield _written(event)
        finally:
            upcoming.cancel()


def _is_wanted(event: Event, wanted: dict[str, str]) -> bool:
    return all(event.document.get(name) == value for name, value in wanted.items())


def _written(event: Event) -> str:
    data = {"key": event.key, "at": format_instant(event.at), "message": event.document}
    return f"event: {event.topic}\ndata: {json.dumps(data)}\n\n"
