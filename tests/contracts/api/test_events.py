"""What happens, as it happens, over server-sent events."""

import asyncio
import json
from typing import Any

import pytest

from orchestrator.api.routers import events
from orchestrator.api.routers.events import told
from schemas.experiments import ExperimentCancelled
from tests.support.faces import NOW, FakeFeed, event

TOPICS = ("experiment-events",)


def _cancelled(experiment: str, topic: str = "experiment-events") -> Any:
    message = ExperimentCancelled(experiment=experiment, request_id="r", sequence=1, emitted_at=NOW)
    return event(topic, message, experiment)


async def test_events_are_told_as_they_come_beginning_with_recent_ones() -> None:
    feed = FakeFeed()
    for name in ("first", "second", "third"):
        feed.put(_cancelled(name))
    lines = told(feed, TOPICS, {}, recent=2)
    assert await anext(lines) == ": begins\n\n"
    before = [await anext(lines), await anext(lines)]
    feed.put(_cancelled("other", topic="trial-events"))
    upcoming = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    feed.put(_cancelled("fourth"))
    for name, line in zip(("second", "third", "fourth"), [*before, await upcoming], strict=True):
        kind, data = line.removesuffix("\n\n").split("\n")
        assert kind == "event: experiment-events"
        assert json.loads(data.removeprefix("data: "))["message"]["experiment"] == name
    await lines.aclose()
    assert feed.followers == []


async def test_only_what_tells_of_an_experiment_is_told_where_one_is_named() -> None:
    feed = FakeFeed([_cancelled("mine"), _cancelled("another")])
    lines = told(feed, TOPICS, {"experiment": "mine"}, recent=10)
    await anext(lines)
    assert '"experiment": "mine"' in await anext(lines)
    await lines.aclose()


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_SECONDS", 0.01)
    lines = told(FakeFeed(), TOPICS, {}, recent=0)
    assert [await anext(lines) for _ in range(3)] == [": begins\n\n", ": silence\n\n", ": silence\n\n"]
    await lines.aclose()
