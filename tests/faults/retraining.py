"""The worker is killed at each step of a retraining: of what triggers it, and of what becomes of its challenger."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from orchestrator.core.performance import Account
from schemas.commands import SetPolicy
from schemas.envelope import encode
from schemas.policies import Policy, PromotionRule
from schemas.topics import COMMANDS, ENSEMBLE_EVENTS, RETRAINING_EVENTS, SEARCH_REQUESTS, Topic
from streams.reader import TopicReader
from tests.faults.stage import Stage, Violated
from tests.faults.ticks import send_ticks, signals_of

ENSEMBLE = "bot"
LOOK = 5
"""Sessions."""
AGING = Policy(max_age_days=1)
PROMOTING = Policy(promotion=PromotionRule(sessions=LOOK, looks=1))
TRIGGERING = ("amid-trigger", "after-trigger", "before-database", "before-commit")
ON_TRIAL = ("amid-shadowing", "amid-order", "after-order", "amid-promotion")


def worker_killed_while_it_triggers(stage: Stage) -> int:
    """Amid the transaction of a trigger and after it, and when its request is admitted."""
    acknowledged = stage.deploy()
    _command(stage, SetPolicy(command_id="policy", issued_at=datetime.now(UTC), ensemble=ENSEMBLE, policy=AGING))
    stage.until(lambda: bool(stage.query("SELECT 1 FROM policies")), "there is a policy")
    stage.arm(TRIGGERING[0])
    send_ticks(stage, 20)
    _killed_at(stage, TRIGGERING)
    (triggered,) = _one(stage, "SELECT request_id, cause FROM triggers", "triggers")
    stage.settle([triggered[0]])
    requests = [each for each in _said(stage, SEARCH_REQUESTS) if each.get("requested_by") == "policy"]
    for found, what in ((requests, "requests"), (_told(stage, RETRAINING_EVENTS, "triggered"), "events of a trigger")):
        names = sorted({each["request_id"] for each in found})
        if names != [triggered[0]]:
            raise Violated(f"there is one trigger, {triggered[0]}, and {what} of {names}")
        if any(each["cause"] != json.loads(triggered[1]) for each in found):
            raise Violated(f"{what} have another cause than the trigger")
    return stage.audit([*acknowledged, triggered[0]]) + len(requests)


def worker_killed_while_a_challenger_is_on_trial(stage: Stage) -> int:
    """Amid the transactions that put it on trial, order its promotion and promote it, and after the order."""
    acknowledged = stage.deploy()
    command = SetPolicy(command_id="trial", issued_at=datetime.now(UTC), ensemble=ENSEMBLE, policy=PROMOTING)
    stage.arm(ON_TRIAL[0])
    deploy = {"auto": True, "ensemble_name": ENSEMBLE, "gate": False, "mode": "shadow"}
    acknowledged += stage.send([stage.search("challenger", seed=5, deploy=deploy)])
    _killed_at(stage, ON_TRIAL[:1])
    stage.until(lambda: _state(stage, 2) == "shadowing", "the challenger is on trial")
    stage.arm(ON_TRIAL[1])
    _command(stage, command)
    _earn(stage, {1: 0.0, 2: 0.01})
    _killed_at(stage, ON_TRIAL[1:])
    stage.until(lambda: _state(stage, 2) == "deployed", "the challenger is the champion")
    answered = signals_of(stage, ticks=20)
    if Counter(answered.values()) != {2: 20}:
        raise Violated(f"20 ticks were answered by {Counter(answered.values())}, and not by version 2")
    unpublished = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
    stage.until(lambda: stage.query(unpublished) == [(0,)], "every event is published")
    steps = [(RETRAINING_EVENTS, "shadowing"), (RETRAINING_EVENTS, "promoted"), (ENSEMBLE_EVENTS, "deployed")]
    for topic, event in steps:
        told = {each["sequence"] for each in _told(stage, topic, event) if each["version"] == 2}
        if len(told) != 1:
            raise Violated(f"version 2 is told to be {event} {len(told)} times")
    ordered = {each["command_id"] for each in _said(stage, COMMANDS) if each.get("command") == "promote"}
    if len(ordered) != 1:
        raise Violated(f"one promotion is ordered by {len(ordered)} commands: {sorted(ordered)}")
    return stage.audit(acknowledged) + len(answered) + len(steps)


def _killed_at(stage: Stage, moments: Sequence[str]) -> None:
    """Kill whoever comes to each of the moments, the first of which is armed; the next one is, before it goes on."""
    for number, moment in enumerate(moments, 1):
        held = stage.held_at(moment)
        for following in moments[number : number + 1]:
            stage.arm(following)
        stage.kill(held)
    stage.child("worker")


def _earn(stage: Stage, by: dict[int, float]) -> None:
    """Put books in the database in which each version earns so much in a session, and a little more or less."""
    first = datetime(2013, 1, 1, 21, tzinfo=UTC)
    write = TypeAdapter(Account).dump_json
    path = stage.service.settings.store_url.split("///", 1)[1]
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        for version, earned in by.items():
            profit = {first + timedelta(days=day): earned + 1e-4 * version * (day % 3) for day in range(LOOK + 1)}
            row = (ENSEMBLE, version, write(Account(version=version, profit=profit)).decode())
            connection.execute("INSERT OR REPLACE INTO books (ensemble, version, account) VALUES (?, ?, ?)", row)


def _command(stage: Stage, command: SetPolicy) -> None:
    stage.service.produce(COMMANDS, [(command.ensemble.encode(), encode(command))])


def _state(stage: Stage, version: int) -> str:
    rows = stage.query("SELECT state FROM ensembles WHERE ensemble = ? AND version = ?", ENSEMBLE, version)
    return rows[0][0] if rows else ""


def _one(stage: Stage, statement: str, what: str) -> list[tuple[Any, ...]]:
    rows = stage.query(statement)
    # Whoever would do it again has had the time for it.
    time.sleep(10)
    if len(rows) != 1 or stage.query(statement) != rows:
        raise Violated(f"{len(stage.query(statement))} {what} of one cause")
    return rows


def _said(stage: Stage, topic: Topic) -> list[dict[str, Any]]:
    with TopicReader(stage.service.config, [topic]) as reader:
        return [json.loads(each.value or b"{}") for each in reader.read_to_end()]


def _told(stage: Stage, topic: Topic, event: str) -> list[dict[str, Any]]:
    return [each for each in _said(stage, topic) if each.get("event") == event]
