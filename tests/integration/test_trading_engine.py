"""The example of a trading engine, as a process on a real broker: what it holds, and when."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from secrets import token_hex
from threading import Thread
from typing import IO, Any

import numpy as np
import pytest
from confluent_kafka import Producer

from schemas.codec import write_signal
from schemas.control import HaltAction
from schemas.envelope import encode
from schemas.signals import HaltInEffect, Heartbeat
from schemas.topics import SIGNAL_STATE, SIGNALS
from streams.decision import Moment, Sheet, decide
from streams.memory import Answered, state_record
from tests.integration.topics import PATIENCE
from tests.unit.streams.fakes import batch_answer, served, tick

pytestmark = pytest.mark.slow

ENGINE = Path(__file__).parents[2] / "examples" / "trading_engine.py"


class Service:
    """What the engine hears: signals and heartbeats of an ensemble of the test's own, all on one partition."""

    def __init__(self, config: dict[str, Any], partition: int) -> None:
        self._partition = partition
        self.ensemble = f"engine-{token_hex(4)}"
        self._producer = Producer(config | {"acks": "all"})

    def signal(
        self,
        bars: int,
        target: int | None,
        *,
        ticker: str = "AAPL",
        revision: int = 0,
        late: bool = False,
        restored: int | None = None,
        ensemble: str | None = None,
    ) -> str:
        """Say what to hold after one of the bars, and remember it in `signal-state`, too, if it is to be restored."""
        valid_until = datetime.now(UTC) + timedelta(minutes=-1 if late else 1)
        answer = batch_answer(np.array([0.9]), [ticker], by=served(ensemble or self.ensemble))
        asked = tick(bars, ticker=ticker, revision=revision)
        signal, _ = decide(asked, Sheet(answer), 0, None, Moment(datetime.now(UTC), valid_until, must_be_flat=False))
        signal.target_position = target
        value = write_signal(signal)
        if restored is not None:
            place = (signal.ensemble, ticker, signal.timeframe, signal.mode)
            state = state_record(
                place, value, Answered(asked.event_time, revision, signal.id, restored, 0), self._partition
            )
            self._produce(SIGNAL_STATE.name, value, key=state.key, headers=[*state.headers])
        self._produce(SIGNALS.name, value)
        return signal.id

    def beat(self, age: float = 0.0, *halted: tuple[str, HaltAction]) -> None:
        """Say that the partition lives, or did so many seconds ago, and what is halted."""
        halts = tuple(HaltInEffect(scope=scope, action=how, epoch=1, expires_at=None) for scope, how in halted)
        emitted_at = datetime.now(UTC) - timedelta(seconds=age)
        heartbeat = Heartbeat(
            instance="w", partition=self._partition, emitted_at=emitted_at, state="live", lag=0, halts=halts
        )
        self._produce(SIGNALS.name, encode(heartbeat))

    def _produce(self, topic: str, value: bytes, **also: Any) -> None:
        self._producer.produce(topic, value=value, partition=self._partition, **also)
        assert self._producer.flush(PATIENCE) == 0


class Changes:
    """What an engine prints."""

    def __init__(self, printed: IO[str]) -> None:
        self._lines: Queue[str] = Queue()
        self._reading = Thread(target=lambda: [*map(self._lines.put, printed)])
        self._reading.start()

    def ended(self) -> None:
        self._reading.join()

    def next(self) -> tuple[str, int, int, str]:
        change = json.loads(self._lines.get(timeout=PATIENCE))
        assert change["timeframe"] == "1h"
        return change["ticker"], change["from"], change["to"], change["why"]


@contextmanager
def engine(config: dict[str, Any], ensemble: str) -> Iterator[Changes]:
    command = [sys.executable, str(ENGINE), config["bootstrap.servers"], ensemble]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        changes = Changes(process.stdout)
        try:
            yield changes
        finally:
            process.kill()
            changes.ended()


def test_it_holds_what_the_signals_say_once_in_time_and_under_halts(kafka_config: dict[str, Any]) -> None:
    service = Service(kafka_config, 5)
    service.signal(0, 1, restored=1)
    service.signal(0, None, ticker="IBM", restored=-1)
    with engine(kafka_config, service.ensemble) as changes:
        restored = {changes.next(), changes.next()}
        assert restored == {("AAPL", 0, 1, "restored"), ("IBM", 0, -1, "restored")}

        # Nobody vouches for the partition yet: positions only shrink, and a reversal ends flat.
        service.signal(1, 1, ticker="MSFT")
        assert ("AAPL", 1, 0, service.signal(1, -1)) == changes.next()

        # What is said twice, too late, by another ensemble, of an earlier bar or without an opinion changes nothing.
        service.beat()
        bought = service.signal(2, 1)
        service.signal(2, -1)
        service.signal(3, -1, late=True)
        service.signal(4, -1, ensemble="another")
        service.signal(1, -1, revision=1)
        service.signal(5, None)
        assert changes.next() == ("AAPL", 0, 1, bought)
        assert ("AAPL", 1, -1, service.signal(5, -1, revision=1)) == changes.next()

        # Other partitions' heartbeats vouch for nothing here, and three are missed on this one.
        service.beat(0, ("ticker:IBM", "halt_new"))
        service.signal(6, 1, ticker="IBM")
        assert changes.next()[:3] == ("IBM", -1, 0)

        # A flatten acts with its heartbeat, before any signal.
        service.beat(0, (f"ensemble:{service.ensemble}", "flatten"), ("ticker:MSFT", "reduce_only"))
        assert changes.next() == ("AAPL", -1, 0, "flatten")
        service.signal(6, 1)
        service.beat()
        assert ("AAPL", 0, 1, service.signal(7, 1)) == changes.next()


def test_the_example_is_short() -> None:
    _, _, code = ENGINE.read_text().split('"""', 2)
    assert len([line for line in code.splitlines() if line.strip()]) <= 60


def test_where_three_heartbeats_are_missed_it_only_reduces(kafka_config: dict[str, Any]) -> None:
    service = Service(kafka_config, 6)
    service.signal(0, -1, restored=-1)
    with engine(kafka_config, service.ensemble) as changes:
        assert changes.next()[2] == -1
        service.beat(age=16)
        service.signal(1, 1, ticker="IBM")
        assert ("AAPL", -1, 0, service.signal(1, 1)) == changes.next()
        service.signal(2, -1)
        service.beat()
        assert ("AAPL", 0, 1, service.signal(3, 1)) == changes.next()
