"""What REST and the dashboard see of a real broker: events as they come."""

import asyncio
import secrets
import time
from typing import Any

import pytest

from schemas.base import format_instant
from schemas.envelope import encode
from schemas.experiments import ExperimentCancelled
from schemas.signals import Heartbeat
from schemas.topics import EXPERIMENT_EVENTS, SIGNALS, Topic
from streams import feed, kafka
from streams.feed import KafkaFeed
from tests.integration.topics import PATIENCE, produce
from tests.support.faces import NOW

pytestmark = pytest.mark.slow


def _cancelled(experiment: str) -> bytes:
    return encode(ExperimentCancelled(experiment=experiment, request_id="r", sequence=1, emitted_at=NOW))


def _topic(config: dict[str, Any], like: Topic) -> Topic:
    """A topic of the test's own with the messages of another."""
    topic = Topic(f"test-{secrets.token_hex(6)}", "none", 2, like.messages, "nothing")
    kafka.ensure_topics(config, [topic])
    return topic


async def _until_kept(watched: KafkaFeed, topic: Topic, enough: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while len(found := watched.recent([topic.name], 100)) < enough:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return [str(each.document["experiment"]) for each in found]


async def test_events_of_before_are_kept_and_those_that_come_are_handed_on(kafka_config: dict[str, Any]) -> None:
    topic = _topic(kafka_config, EXPERIMENT_EVENTS)
    produce(kafka_config, topic, [(0, _cancelled("a")), (0, b"no event"), (0, _cancelled("b"))])
    watched = KafkaFeed(kafka_config, [topic])
    watched.start()
    try:
        assert await _until_kept(watched, topic, 2) == ["b", "a"]
        async with watched.follow([topic.name]) as coming, watched.follow(["another"]) as nothing:
            produce(kafka_config, topic, [(1, _cancelled("c"))])
            async with asyncio.timeout(PATIENCE):
                event = await anext(coming)
            assert (event.document["experiment"], isinstance(event.message, ExperimentCancelled)) == ("c", True)
            waiting = asyncio.ensure_future(anext(nothing))
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
        assert (await _until_kept(watched, topic, 3))[0] == "c"
    finally:
        await watched.stop()


async def test_who_reads_too_slowly_misses_the_oldest(
    kafka_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "WAITING", 2)
    topic = _topic(kafka_config, EXPERIMENT_EVENTS)
    watched = KafkaFeed(kafka_config, [topic])
    watched.start()
    try:
        async with watched.follow([topic.name]) as coming:
            produce(kafka_config, topic, [(0, _cancelled(name)) for name in "abcd"])
            await _until_kept(watched, topic, 4)
            await asyncio.sleep(0.5)
            assert [(await anext(coming)).document["experiment"] for _ in range(2)] == ["c", "d"]
    finally:
        await watched.stop()


async def test_a_feed_that_is_far_behind_goes_on_near_the_end_and_keeps_no_heartbeats(
    kafka_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"KEPT": 5, "TAIL": 200, "MOST_BEHIND": 50, "AT_ONCE": 10}.items():
        monkeypatch.setattr(feed, name, value)
    topic = _topic(kafka_config, SIGNALS)
    heartbeat = Heartbeat(instance="w", partition=0, emitted_at=NOW, state="live", lag=0)
    skipped = [
        f'{{"kind": "tick_skipped", "ticker": "AAPL", "timeframe": "1d", "event_time": "{format_instant(NOW)}", '
        f'"revision": {number}, "reason": "ttl", "emitted_at": "{format_instant(NOW)}", "mode": "live"}}'
        for number in range(200)
    ]
    produce(kafka_config, topic, [(0, line.encode()) for line in skipped])
    produce(kafka_config, topic, [(0, encode(heartbeat))])
    watched = KafkaFeed(kafka_config, [topic])
    watched.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := watched.recent([topic.name], 1)) or found[0].document["revision"] != 199:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert len(watched.recent([topic.name], 100)) == 5
    finally:
        await watched.stop()
