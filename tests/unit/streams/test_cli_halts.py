"""`orchestrator halt`, `lift` and `halts`, on a topic that is a list."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.core.halting import Order, standing
from schemas.control import Halt, Lift
from streams import cli_halts, halting
from streams.cli import app
from streams.halting import EpochsUsedUp, Heard, Issued

ALL = frozenset(range(8))
EVERYBODY, NOBODY = Heard(have=ALL), Heard(silent=ALL)


class Switch:
    """The topic, and what is heard of the workers."""

    def __init__(self) -> None:
        self.written: list[Order] = []
        self.heard = EVERYBODY
        self.epoch_left = True
        self.rival: Order | None = None

    def known(self, config: Any) -> dict[str, Order]:
        return standing(self.written)

    @contextmanager
    def workers(self, config: Any) -> Iterator[None]:
        yield

    def issue(self, config: Any, order: Order) -> Issued:
        if not self.epoch_left:
            raise EpochsUsedUp(order.scope)
        order = order.model_copy(update={"epoch": len(self.written) + 1})
        self.written.append(order)
        return Issued(order, self.rival or order)

    def heard_of(self, reader: None, order: Order) -> Heard:
        return self.heard

    @property
    def newest(self) -> Order:
        return self.written[-1]


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    switch = Switch()
    for name, stands_in in (
        ("known", switch.known),
        ("workers", switch.workers),
        ("issue", switch.issue),
        ("heard", switch.heard_of),
    ):
        monkeypatch.setattr(halting, name, stands_in)
    monkeypatch.setattr(cli_halts, "connection", lambda settings: {})
    return switch


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_halt_is_of_everything_closes_nothing_and_lasts_unless_it_says_otherwise(switch: Switch) -> None:
    result = run("halt", "--reason", "bad prices")
    assert result.exit_code == 0
    assert result.stdout == "all: reduce_only until lifted, epoch 1\nevery worker follows it\n"
    given = switch.newest
    assert isinstance(given, Halt)
    assert (given.scope, given.action, given.reason, given.expires_at) == ("all", "reduce_only", "bad prices", None)
    assert re.fullmatch(".+@.+", given.actor)


def test_scope_action_actor_and_span_are_as_told(switch: Switch) -> None:
    run("halt", "--scope", "ticker:AAPL", "--action", "flatten", "--reason", "r", "--for", "2h", "--actor", "desk")
    given = switch.newest
    assert isinstance(given, Halt)
    assert (given.scope, given.action, given.actor) == ("ticker:AAPL", "flatten", "desk")
    assert given.expires_at == given.issued_at + timedelta(hours=2)


def test_it_may_last_until_a_time(switch: Switch) -> None:
    run("halt", "--reason", "r", "--until", "2150-01-15T21:00:00Z")
    assert isinstance(switch.newest, Halt)
    assert switch.newest.expires_at == datetime(2150, 1, 15, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["halt", "--reason", "r", "--scope", "AAPL"], "/scope"),
        (["lift", "--scope", "AAPL"], "/scope"),
        (["halt"], "--reason"),
        (["halt", "--reason", "r", "--action", "stop"], "stop"),
        (["halt", "--reason", "r", "--for", "2 hours"], "no span of time"),
        (["halt", "--reason", "r", "--for", "0s"], "no span of time"),
        (["halt", "--reason", "r", "--for", "99999d"], "/expires_at"),
        (["halt", "--reason", "r", "--until", "tomorrow"], "tomorrow must be"),
        (["halt", "--reason", "r", "--until", "2020-01-01T00:00:00Z"], "has passed"),
        (["halt", "--reason", "r", "--until", "2150-01-01T00:00:00Z", "--for", "1h"], "one of them"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    switch: Switch, arguments: list[str], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert switch.written == []


def test_where_no_worker_is_heard_of_the_halt_stands(switch: Switch) -> None:
    switch.heard = NOBODY
    result = run("halt", "--reason", "r")
    assert result.exit_code == 0
    assert "no worker is heard of: it stands" in result.stdout


@pytest.mark.parametrize("heard", [Heard(ALL - {3}, frozenset({3})), Heard(ALL - {3}, silent=frozenset({3}))])
def test_a_worker_that_has_not_said_that_it_follows_is_told(switch: Switch, heard: Heard) -> None:
    switch.heard = heard
    result = run("halt", "--reason", "r")
    assert result.exit_code == 1
    assert "partitions 3 of signals" in result.stderr
    assert "epoch 1" in result.stdout


def test_what_another_overtakes_is_told(switch: Switch) -> None:
    run("halt", "--reason", "r")
    switch.rival = switch.newest
    result = run("lift")
    assert result.exit_code == 1
    assert "overtaken: all: reduce_only until lifted, epoch 1" in result.stderr


def test_where_no_epoch_is_left_it_says_what_to_do(switch: Switch) -> None:
    switch.epoch_left = False
    result = run("halt", "--reason", "r")
    assert result.exit_code == 1
    assert "delete the record with the key all" in result.stderr


def test_a_lift_ends_the_halt_of_its_scope_and_names_the_others(switch: Switch) -> None:
    run("halt", "--reason", "r")
    run("halt", "--reason", "r", "--scope", "ticker:AAPL")
    result = run("lift")
    assert result.stdout.splitlines() == [
        "all: lifted, epoch 3",
        "every worker follows it",
        "still halted: ticker:AAPL",
    ]
    assert isinstance(switch.newest, Lift)
    assert run("lift").stdout.splitlines() == ["nothing halts all", "still halted: ticker:AAPL"]
    assert len(switch.written) == 3


def test_it_lists_what_is_in_effect(switch: Switch) -> None:
    assert run("halts").stdout == "nothing is halted\n"
    run("halt", "--reason", "bad prices", "--actor", "desk")
    run("halt", "--reason", "r", "--scope", "ensemble:bot", "--until", "2150-01-15T21:00:00Z")
    _, everything, bot = (re.split(r" {2,}", line.strip()) for line in run("halts").stdout.splitlines())
    assert everything[:4] == ["all", "reduce_only", "lifted", "desk"]
    assert everything[5:] == ["1", "bad prices"]
    assert bot[:3] == ["ensemble:bot", "reduce_only", "2150-01-15T21:00:00.000000Z"]
