"""A shift in live ticks has an ensemble trained anew, once and for a reason that is told down to the search."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.features.parquet import ParquetFeatures
from schemas.commands import Retrain, SetPolicy
from schemas.envelope import decode, encode
from schemas.experiments import ExperimentAccepted
from schemas.policies import DriftRule, OutlierRule, Policy
from schemas.retraining import DetectorsRead, RetrainingTriggered
from schemas.search import SearchRequest
from schemas.topics import COMMANDS, EXPERIMENT_EVENTS, FEATURE_TICKS, RETRAINING_EVENTS, SEARCH_REQUESTS, Topic
from streams.reader import TopicReader
from streams.replay import tick_of
from tests.service import PATIENCE_SECONDS, Service, request

pytestmark = pytest.mark.slow

TICKER, ENSEMBLE = "IBM", "drifting"
WINDOW = 60
"""Bars of a day."""
POLICY = Policy(drift=DriftRule(), outliers=OutlierRule(share=1.0))


def test_a_shift_in_ticks_asks_for_one_search_with_its_cause_and_repeats_join(service: Service) -> None:
    deploy = {"auto": True, "ensemble_name": ENSEMBLE, "gate": False, "mode": "paper"}
    asked = request(service, "to-drift", tickers=[TICKER], deploy=deploy, seed=41)
    asked["param_grid"] = {"alpha": [0.001, 0.01], "l1_ratio": [0.5]}
    assert service.follow(service.ask(**asked), deploys=True).succeeded
    command(service, SetPolicy(command_id="drift-policy", issued_at=now(), ensemble=ENSEMBLE, policy=POLICY))
    until(service, RETRAINING_EVENTS, DetectorsRead, lambda found: len(found) >= 1)

    send(service, slice(-6 * WINDOW, -4 * WINDOW), shift=0.0)
    quiet = until(service, RETRAINING_EVENTS, DetectorsRead, lambda found: any(map(known, found)))
    assert all(each.streak == 0 for each in quiet[-1].readings if each.detector == "drift")
    assert triggers(service) == []

    send(service, slice(-4 * WINDOW, -2 * WINDOW), shift=1e3)
    (event,) = until(service, RETRAINING_EVENTS, RetrainingTriggered, bool)
    assert event.cause is not None
    assert (event.cause["kind"], event.cause["ticker"], event.version) == ("drift", TICKER, 1)
    assert event.cause["figure"] > event.cause["threshold"]
    # Repeats of every kind join it: windows, a command, a request from outside.
    send(service, slice(-2 * WINDOW, None), shift=1e3)
    command(service, Retrain(command_id="drift-again", issued_at=now(), ensemble=ENSEMBLE))
    found = until(service, EXPERIMENT_EVENTS, ExperimentAccepted, lambda found: bool(of(found, event.request_id)))
    (accepted,) = of(found, event.request_id)
    assert accepted.cause == event.cause
    outside = asked | {"request_id": "drift-news", "cause": {"headline": "a crash"}}
    service.ask(**outside)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not joined(service, "drift-news"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    requests = [each for each in read(service, SEARCH_REQUESTS, SearchRequest) if each.requested_by == "policy"]
    assert [(each.request_id, each.cause) for each in requests] == [(event.request_id, event.cause)]
    assert len(triggers(service)) == 1


def joined(service: Service, request_id: str) -> bool:
    """Whether a request was answered by the search that the trigger asked for."""
    values = [json.loads(each.value or b"{}") for each in records(service, EXPERIMENT_EVENTS)]
    return any((each.get("event"), each.get("request_id")) == ("duplicate", request_id) for each in values)


def send(service: Service, rows: slice, shift: float) -> None:
    """Send bars as live ticks that are available now, every feature so far from what it was."""
    bars = ParquetFeatures(service.settings.features_folder).load(TICKER, "1d")
    told = []
    for row in range(*rows.indices(len(bars))):
        tick = tick_of(bars, row, now())
        moved = {name: None if value is None else value + shift for name, value in tick.features.items()}
        told.append((TICKER.encode(), encode(tick.model_copy(update={"features": moved}))))
    service.produce(FEATURE_TICKS, told)


def command(service: Service, given: Any) -> None:
    service.produce(COMMANDS, [(given.ensemble.encode(), encode(given))])


def known(event: DetectorsRead) -> bool:
    """Whether a window is whole."""
    return any(each.figure is not None for each in event.readings)


def triggers(service: Service) -> list[RetrainingTriggered]:
    return read(service, RETRAINING_EVENTS, RetrainingTriggered)


def of(found: list[ExperimentAccepted], request_id: str) -> list[ExperimentAccepted]:
    return [each for each in found if each.request_id == request_id]


def until(service: Service, topic: Topic, kind: Any, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """The ensemble's messages of this kind, once there are enough."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not enough(found := read(service, topic, kind)):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def read(service: Service, topic: Topic, kind: Any) -> list[Any]:
    """All messages of this kind; of events of an ensemble, those of this one."""
    named = kind.TYPE.encode()
    found = [decode(kind, each.value) for each in records(service, topic) if dict(each.headers).get("ce_type") == named]
    return [each for each in found if getattr(each, "ensemble", ENSEMBLE) == ENSEMBLE]


def records(service: Service, topic: Topic) -> list[Any]:
    with TopicReader(service.config, [topic]) as reader:
        return reader.read_to_end(PATIENCE_SECONDS)


def now() -> datetime:
    return datetime.now(UTC)
