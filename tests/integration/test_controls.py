"""Halts on a real broker: every worker follows them, restarts included, and heartbeats tell of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer

from orchestrator.core.halting import Order
from schemas.control import Halt, HaltAction, Lift
from schemas.dead_letter import read_dead_letter
from schemas.envelope import decode, encode
from schemas.signals import Heartbeat
from schemas.topics import CONTROL, SIGNALS, Topic, dead_letter_topic
from streams import halting, heartbeats, kafka, requesting
from streams.controls import Controls, Custody
from streams.halting import Heard, heard, issue, known, workers
from streams.heartbeats import Heartbeats, Pulse
from streams.publisher import Publisher
from streams.source import Record
from tests.integration.topics import PATIENCE, content, new_topic, produce
from tests.waiting import eventually

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 15, 21, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def broken(error: BaseException) -> None:
    raise AssertionError from error


def halt(
    scope: str = "all", action: HaltAction = "flatten", epoch: int = 1, expires_at: datetime | None = None
) -> Halt:
    return Halt(
        scope=scope, epoch=epoch, actor="desk", issued_at=NOW, action=action, reason="a test", expires_at=expires_at
    )


def lift(scope: str = "all", epoch: int = 0) -> Lift:
    return Lift(scope=scope, epoch=epoch, actor="desk", issued_at=NOW)


@pytest.fixture
def control(kafka_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Topic:
    """A topic of halts of the test's own, which the switch uses, too."""
    name = f"test-control-{secrets.token_hex(6)}"
    topic = Topic(name, "scope", 2, CONTROL.messages, "epoch", None, "compact", consumed=True)
    kafka.ensure_topics(kafka_config, [topic, dead_letter_topic(topic)])
    for module in (halting, requesting):
        monkeypatch.setattr(module, "CONTROL", topic)
    return topic


def write(config: dict[str, Any], topic: Topic, *orders: Order) -> None:
    for order in orders:
        produce_as(config, topic, order.scope.encode(), encode(order))


def produce_as(config: dict[str, Any], topic: Topic, key: bytes, value: bytes | None) -> None:
    producer = Producer(config | {"acks": "all"})
    producer.produce(topic.name, key=key, value=value)
    assert producer.flush(PATIENCE) == 0


@asynccontextmanager
async def following(config: dict[str, Any], topic: Topic) -> AsyncIterator[Controls]:
    """A worker's knowledge of the halts, from its start to its stop."""
    controls = Controls(config, now, broken, topic)
    await controls.start()
    try:
        yield controls
    finally:
        await controls.stop()


def action(controls: Controls, ensemble: str = "alpha", ticker: str = "AAPL") -> str | None:
    found = controls.on(ensemble, ticker, now())
    return None if found is None else found.action


def is_under(controls: Controls, wanted: str | None) -> bool:
    return action(controls) == wanted


async def test_every_worker_knows_every_halt_once_it_has_started_and_follows_what_comes(
    kafka_config: dict[str, Any], control: Topic
) -> None:
    write(kafka_config, control, halt("ticker:AAPL"), halt("ensemble:alpha", "halt_new"), halt(epoch=1), lift(epoch=2))
    async with following(kafka_config, control) as one, following(kafka_config, control) as other:
        for worker in (one, other):
            assert (action(worker), action(worker, ticker="MSFT"), action(worker, "beta", "MSFT")) == (
                "flatten",
                "halt_new",
                None,
            )
        write(kafka_config, control, lift("ticker:AAPL", 2), halt("all", "reduce_only", 3))
        for worker in (one, other):
            await asyncio.to_thread(eventually, partial(is_under, worker, "reduce_only"))
    async with following(kafka_config, control) as restarted:
        assert action(restarted) == action(restarted, "beta", "MSFT") == "reduce_only"


async def test_a_halt_ends_by_the_clock(kafka_config: dict[str, Any], control: Topic) -> None:
    write(kafka_config, control, halt(expires_at=now() + timedelta(seconds=2)), halt("ticker:IBM", expires_at=NOW))
    async with following(kafka_config, control) as worker:
        assert (action(worker), action(worker, ticker="IBM")) == ("flatten", "flatten")
        await asyncio.to_thread(eventually, partial(is_under, worker, None))
        assert action(worker, ticker="IBM") is None


async def test_bad_bytes_are_buried_once_whoever_reads_and_a_halt_that_is_displaced_is_written_again(
    kafka_config: dict[str, Any], control: Topic
) -> None:
    write(kafka_config, control, halt(epoch=5))
    for value in (b"\xff", None, encode(halt(epoch=4))):
        produce_as(kafka_config, control, b"all", value)
    write(kafka_config, control, halt("ticker:AAPL"))
    records = content(kafka_config, control.name)
    publisher = Publisher(kafka_config)
    async with following(kafka_config, control), following(kafka_config, control) as worker:
        custody = Custody(worker, publisher, now)
        await custody.take(records)
        # What it wrote itself, and what it reads again after a crash, is in order.
        await custody.take(content(kafka_config, control.name)[len(records) :])
    await publisher.close()
    letters = content(kafka_config, control.dead_letters)
    assert [each.value for each in letters] == [b"\xff", None]
    assert [read_dead_letter(each.headers).offset for each in letters] == [1, 2]
    newest = newest_of(content(kafka_config, control.name), b"all")
    assert decode(CONTROL.messages, newest.value) == halt(epoch=5)


def newest_of(records: Sequence[Record], key: bytes) -> Record:
    """What compaction leaves of a key."""
    return [record for record in records if record.key == key][-1]


@asynccontextmanager
async def beating(
    config: dict[str, Any], controls: Controls, signals: Topic, ticks: Topic, partitions: set[int]
) -> AsyncIterator[Pulse]:
    """A worker's heartbeats, from their start to their stop."""
    publisher, pulse = Publisher(config), Pulse()
    service = Heartbeats(
        measuring=kafka.Lags(config, ticks.name, "a-group"),
        publisher=publisher,
        controls=controls,
        pulse=pulse,
        assigned=lambda: partitions,
        serving=tuple,
        instance="one",
        clock=now,
        source="/test",
        on_failure=broken,
        topic=signals,
    )
    await service.start()
    try:
        yield pulse
    finally:
        await service.stop()
        await publisher.close()


async def test_heartbeats_come_on_every_assigned_partition_with_the_lag_and_at_once_with_a_halt(
    kafka_config: dict[str, Any], control: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next beat would come in an hour: it is the halt that brings it.
    monkeypatch.setattr(heartbeats, "PERIOD_SECONDS", 3600.0)
    # On a busy machine the lag is not known within a second, and the only beat of the hour would say so.
    monkeypatch.setattr(heartbeats, "MEASURE_SECONDS", PATIENCE)
    signals, ticks = new_topic(kafka_config, 4), new_topic(kafka_config, 4)
    produce(kafka_config, ticks, [(3, b"one"), (3, b"two"), (1, b"of another worker")])

    def told() -> list[tuple[int, Heartbeat]]:
        records = content(kafka_config, signals.name)
        return sorted(((each.partition, decode(SIGNALS.messages, each.value)) for each in records), key=order_of)

    async with (
        following(kafka_config, control) as controls,
        beating(kafka_config, controls, signals, ticks, {0, 3}) as pulse,
    ):
        await asyncio.to_thread(eventually, lambda: len(told()) == 2)
        pulse.answered(3, "1d", NOW)
        write(kafka_config, control, halt("all", "flatten", 7))
        await asyncio.to_thread(eventually, lambda: len(told()) == 4)
    found = told()
    assert [(place, each.partition, each.state, each.lag) for place, each in found] == [
        (0, 0, "live", 0),
        (0, 0, "halted", 0),
        (3, 3, "live", 2),
        (3, 3, "halted", 2),
    ]
    assert [[(halt.scope, halt.action, halt.epoch) for halt in each.halts] for _, each in found[2:]] == [
        [],
        [("all", "flatten", 7)],
    ]
    assert [newest.event_time for newest in found[3][1].newest] == [NOW]


def order_of(told: tuple[int, Heartbeat]) -> tuple[int, datetime]:
    return told[0], told[1].emitted_at


async def test_the_switch_needs_kafka_alone_and_says_when_the_workers_follow(
    kafka_config: dict[str, Any], control: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals, ticks = new_topic(kafka_config, 2), new_topic(kafka_config, 2)
    monkeypatch.setattr(halting, "SIGNALS", Topic(signals.name, "none", 2, SIGNALS.messages, "nothing"))

    def switch(order: Order, patience: float) -> tuple[int, Heard]:
        with workers(kafka_config) as reader:
            issued = issue(kafka_config, order)
            assert not issued.overtaken
            return issued.order.epoch, heard(reader, issued.order, patience)

    assert known(kafka_config) == {}
    nobody = Heard(silent=frozenset({0, 1}))
    assert await asyncio.to_thread(switch, halt(), 0.5) == (1, nobody)
    everybody = Heard(have=frozenset({0, 1}))
    async with (
        following(kafka_config, control) as controls,
        beating(kafka_config, controls, signals, ticks, {0, 1}),
    ):
        orders: tuple[tuple[Order, int], ...] = (
            (halt(action="reduce_only"), 2),
            (lift(), 3),
            (halt("ticker:AAPL"), 1),
        )
        for order, epoch in orders:
            assert await asyncio.to_thread(switch, order, PATIENCE) == (epoch, everybody)
    assert {scope: order.epoch for scope, order in known(kafka_config).items()} == {"all": 3, "ticker:AAPL": 1}


def test_where_the_topic_is_missing_nothing_is_known_and_a_halt_makes_it(
    kafka_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(f"test-control-{secrets.token_hex(6)}", "scope", 1, CONTROL.messages, "epoch", None, "compact")
    for module in (halting, requesting):
        monkeypatch.setattr(module, "CONTROL", topic)
    monkeypatch.setattr(halting, "SIGNALS", Topic("test-no-signals", "none", 1, SIGNALS.messages, "nothing"))
    assert known(kafka_config) == {}
    with workers(kafka_config) as reader:
        assert reader is None
        issued = issue(kafka_config, halt())
        assert heard(reader, issued.order) == Heard()
    assert known(kafka_config) == {"all": halt(epoch=1)}
