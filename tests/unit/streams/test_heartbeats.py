"""What a worker says of itself, and that nothing keeps it from saying so."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from threading import Event

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.control import Halt
from schemas.envelope import decode
from schemas.signals import Heartbeat
from schemas.topics import CONTROL, FEATURE_TICKS, SIGNALS
from streams import heartbeats
from streams.controls import Controls
from streams.heartbeats import STALE, Heartbeats, Pulse, State, state_of
from streams.kafka import Position
from streams.progress import Progress
from streams.source import Record
from tests.unit.streams.fakes import NOW, Clock, FakePublisher, bar, served

SECOND = timedelta(seconds=1)
LATE = STALE + SECOND
BUSY, IDLE = Progress(10, 5, NOW, NOW), Progress(10, 0, NOW, NOW)
STILL = Progress(10, 5, NOW, NOW - LATE)


@pytest.mark.parametrize(
    ("progress", "halted", "silent", "state"),
    [
        (IDLE, False, False, "live"),
        (BUSY, False, False, "live"),
        (Progress(10, 5, NOW, NOW - STALE), False, False, "live"),
        (STILL, False, False, "stale"),
        (Progress(10, 0, NOW, NOW - LATE), False, False, "live"),
        (None, False, False, "degraded"),
        (Progress(10, 0, NOW - LATE, NOW - LATE), False, False, "degraded"),
        (IDLE, False, True, "degraded"),
        (STILL, False, True, "stale"),
        (IDLE, True, False, "halted"),
        (STILL, True, True, "halted"),
        (None, True, False, "halted"),
    ],
)
def test_how_a_partition_is(progress: Progress | None, halted: bool, silent: bool, state: State) -> None:
    assert state_of(progress, NOW, halted=halted, silent=silent) == state


def test_the_newest_bar_of_each_timeframe_is_kept_by_partition() -> None:
    pulse = Pulse()
    for partition, timeframe, hours in ((0, "1h", 2), (0, "1h", 1), (0, "1d", 1), (1, "1h", 5)):
        pulse.answered(partition, timeframe, bar(hours))
    assert [(each.timeframe, each.event_time) for each in pulse.newest(0)] == [("1d", bar(1)), ("1h", bar(2))]
    pulse.keep({1})
    assert (pulse.newest(0), len(pulse.newest(1))) == ((), 1)


class Broker:
    """Knows the lag, or not, or only when it is let."""

    def __init__(self) -> None:
        self.fails = False
        self.answers = Event()
        self.answers.set()

    def of(self, partitions: Iterable[int]) -> list[Position]:
        self.answers.wait()
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return [Position(FEATURE_TICKS.name, number, 0, 10 + number, 10) for number in partitions]

    def close(self) -> None:
        return


class Beating:
    """Heartbeats of partitions 0 and 3, whose turns the test takes."""

    def __init__(self) -> None:
        self.broker, self.publisher, self.clock, self.pulse = Broker(), FakePublisher(), Clock(), Pulse()
        self.controls = Controls({}, self.clock, self.fail)
        self.partitions = {3, 0}
        self.service = Heartbeats(
            measuring=self.broker,
            publisher=self.publisher,
            controls=self.controls,
            pulse=self.pulse,
            assigned=lambda: self.partitions,
            serving=lambda: (served("alpha", 2),),
            instance="one",
            clock=self.clock,
            source="/test",
            on_failure=self.fail,
        )

    @staticmethod
    def fail(error: BaseException) -> None:
        raise error

    async def beat(self) -> list[Heartbeat]:
        """What one turn says, by partition."""
        before = len(self.publisher.published)
        await self.service.turn()
        sent = self.publisher.published[before:]
        said: list[Heartbeat] = [decode(SIGNALS.messages, each.value) for each in sent]
        assert [(each.topic, each.partition) for each in sent] == [(SIGNALS.name, one.partition) for one in said]
        return said


@asynccontextmanager
async def quick() -> AsyncIterator[Beating]:
    beating = Beating()
    yield beating
    beating.broker.answers.set()
    await beating.service.on_stop()


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PERIOD_SECONDS", 0.0)


async def test_each_partition_whose_ticks_are_read_gets_one_and_no_other() -> None:
    async with quick() as beating:
        beating.pulse.answered(3, "1h", bar(1))
        first, second = await beating.beat()
        assert (first.partition, second.partition) == (0, 3)
        assert (first.state, first.lag, first.newest) == ("live", 0, ())
        assert (second.lag, second.newest[0].event_time, second.instance) == (3, bar(1), "one")
        assert [(each.ensemble, each.version) for each in second.serving] == [("alpha", 2)]
        beating.partitions = {3}
        assert [each.partition for each in await beating.beat()] == [3]
        beating.partitions = {0, 3}
        assert [each.newest for each in await beating.beat()] == [(), second.newest]


async def test_ticks_that_wait_while_none_is_handled_make_it_stale() -> None:
    async with quick() as beating:
        assert [each.state for each in await beating.beat()] == ["live", "live"]
        beating.clock.advance(LATE)
        assert [each.state for each in await beating.beat()] == ["live", "stale"]


async def test_an_ensemble_that_does_not_answer_degrades_it_until_it_does() -> None:
    async with quick() as beating:
        for silent, state in ((frozenset({"alpha"}), "degraded"), (frozenset[str](), "live")):
            beating.pulse.silent(silent)
            assert {each.state for each in await beating.beat()} == {state}


async def test_it_beats_on_while_the_lag_cannot_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "MEASURE_SECONDS", 0.01)
    async with quick() as beating:
        beating.broker.fails = True
        assert {each.state for each in await beating.beat()} == {"degraded"}
        beating.broker.fails = False
        states: set[State] = set()
        while states != {"live"}:
            states = {each.state for each in await beating.beat()}
        beating.broker.answers.clear()
        for _ in range(2):
            assert [(each.state, each.lag) for each in await beating.beat()] == [("live", 0), ("live", 3)]
        beating.clock.advance(LATE)
        assert {each.state for each in await beating.beat()} == {"degraded"}


async def test_a_broker_that_does_not_take_one_is_told_the_next() -> None:
    async with quick() as beating:
        beating.publisher.refused = {1}
        assert await beating.beat() == []
        assert len(await beating.beat()) == 2


async def test_halts_in_effect_are_told_and_only_that_of_everything_halts_it() -> None:
    async with quick() as beating:
        for offset, (scope, state) in enumerate((("ticker:AAPL", "live"), ("all", "halted"))):
            await beating.controls._take([halt_record(offset, scope)])
            assert beating.controls.changed.is_set()
            (said, _) = await beating.beat()
            assert (said.state, said.halts[0].action, said.halts[0].epoch) == (state, "flatten", 7)
            assert not beating.controls.changed.is_set()
        assert [each.scope for each in said.halts] == ["all", "ticker:AAPL"]
        beating.clock.advance(timedelta(hours=1))
        assert {(each.state == "halted", each.halts) for each in await beating.beat()} == {(False, ())}


def halt_record(offset: int, scope: str) -> Record:
    halt = Halt(
        scope=scope,
        epoch=7,
        actor="desk",
        issued_at=NOW,
        action="flatten",
        reason="a test",
        expires_at=NOW + timedelta(minutes=1),
    )
    return Record(CONTROL.name, 0, offset, scope.encode(), halt.model_dump_json().encode())
