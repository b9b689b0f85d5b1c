"""A challenger beside its champion under ticks: in shadow, as a canary, promoted, and another one retired."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.base import format_instant
from schemas.envelope import decode
from schemas.signals import Signal
from schemas.topics import COMMANDS, ENSEMBLE_EVENTS, RETRAINING_EVENTS, SIGNALS_PAPER, SIGNALS_SHADOW, Topic
from streams.following import event_of
from tests.service import Service, of_type, request

pytestmark = pytest.mark.slow

PAIR = ("IBM", "MSFT")
NAME = "rivals"
PART = 5


def _deploy(service: Service, top: int, mode: str) -> str:
    options = ["--name", NAME, "--top", str(top), "--threshold", "0.01", "--mode", mode, "--no-gate"]
    done = service.command("ensembles", "deploy", "contested", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _order(service: Service, command: str, version: int, **fields: Any) -> None:
    order = {"command": command, "ensemble": NAME, "version": version, "issued_at": format_instant(datetime.now(UTC))}
    order |= {"command_id": f"{command}-{version}-{len(fields)}"} | fields
    service.produce(COMMANDS, [(NAME.encode(), json.dumps(order).encode())])


def _await(service: Service, topic: Topic, event: str, version: int) -> None:
    def wanted(record: Any) -> bool:
        if record.key != NAME.encode():
            return False
        told: Any = event_of(record)
        return (told.event, told.version) == (event, version)

    service.await_records(topic, 1, wanted)
    # Every worker routes by it a moment later.
    time.sleep(2.5)


def _played(service: Service, part: int) -> None:
    service.play(slice(PART * part, PART * (part + 1)), PAIR)


def _said(service: Service, topic: Topic, parts: int) -> list[set[tuple[str, int]]]:
    """By part, which version has said something of which instrument there; of each bar there is one signal."""
    named = f'"ensemble":"{NAME}"'.encode()
    found = service.await_records(topic, parts * PART * len(PAIR), lambda record: named in (record.value or b""))
    signals = [decode(Signal, record.value) for record in of_type(found, Signal)]
    bars = sorted({each.event_time for each in signals})
    assert len(signals) == len(bars) * len(PAIR) == len({each.id for each in signals}) == parts * PART * len(PAIR)
    by_part: list[set[tuple[str, int]]] = [set() for _ in range(parts)]
    for each in signals:
        by_part[bars.index(each.event_time) // PART].add((each.ticker, each.version))
    return by_part


def _books(service: Service) -> dict[int, int]:
    """How many signals of each version were followed."""
    path = str(service.settings.store_url).removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("select version, account from books where ensemble = ?", (NAME,)).fetchall()
    return {version: json.loads(account)["signals"] for version, account in rows}


def test_of_each_tick_one_signal_is_heard_whoever_is_on_trial(service: Service) -> None:
    asked = request(service, "to-be-contested", name="contested", tickers=PAIR, costs={"default_bps": 0}, seed=29)
    asked["param_grid"] = {"alpha": [0.0005, 0.005], "l1_ratio": [0.1, 0.9]}
    assert service.follow(service.ask(**asked), deploys=False).succeeded
    assert _deploy(service, 1, "paper").startswith(f"version 1 of {NAME} answers")
    assert _deploy(service, 3, "shadow").startswith(f"version 2 of {NAME} is on trial beside version 1")
    _await(service, RETRAINING_EVENTS, "shadowing", 2)
    _played(service, 0)
    _said(service, SIGNALS_SHADOW, 1)
    _order(service, "promote", 2, tickers=["MSFT"])
    _await(service, RETRAINING_EVENTS, "canary", 2)
    _played(service, 1)
    canary = {("IBM", 1), ("MSFT", 2)}
    one, two = {("IBM", 1), ("MSFT", 1)}, {("IBM", 2), ("MSFT", 2)}
    assert _said(service, SIGNALS_SHADOW, 2) == [two, {("IBM", 2), ("MSFT", 1)}]
    _order(service, "promote", 2)
    _await(service, ENSEMBLE_EVENTS, "deployed", 2)
    _played(service, 2)
    assert _said(service, SIGNALS_PAPER, 3) == [one, canary, two]
    _deploy(service, 2, "shadow")
    _order(service, "retire", 3)
    _await(service, RETRAINING_EVENTS, "retired", 3)
    _played(service, 3)
    assert _said(service, SIGNALS_PAPER, 4) == [one, canary, two, two]
    deadline = time.monotonic() + 60
    while len(books := _books(service)) < 2 or books[2] < 4 * PART:
        assert time.monotonic() < deadline, books
        time.sleep(0.5)
