from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from orchestrator.store.database import Database
from schemas.topics import FEATURE_TICKS, SEARCH_REQUESTS
from streams import kafka, vitals
from streams.kafka import Position
from streams.metrics import LAG, OUTBOX_AGE_SECONDS, OUTBOX_EVENTS
from streams.run_folder import RunFolder
from streams.vitals import Vitals
from tests.contracts.store.makers import NOW, founded, later


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def measuring(db: Database, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Vitals:
    """Vitals thirty seconds after the store's events, which never rest."""
    monkeypatch.setattr(vitals, "PAUSE_SECONDS", 0)
    return Vitals({}, db, folder, lambda: later(30), lambda error: None)


def at(monkeypatch: pytest.MonkeyPatch, *positions: Position) -> None:
    """The broker says so."""
    monkeypatch.setattr(kafka, "positions", lambda config, groups: [*positions])


async def test_lag_and_progress_are_said(measuring: Vitals, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, Position(FEATURE_TICKS.name, 3, 0, 100, 60), Position(SEARCH_REQUESTS.name, 0, 0, 5, 5))
    await measuring.turn()
    assert LAG.labels(FEATURE_TICKS.name, 3)._value.get() == 40
    first = folder.progress()
    assert first is not None
    assert (first.position, first.lag, first.moved_at) == (65, 40, later(30))


async def test_it_moves_when_offsets_advance(
    measuring: Vitals, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for handled in (60, 60, 70):
        at(monkeypatch, Position(FEATURE_TICKS.name, 0, 0, 100, handled))
        await measuring.turn()
    found = folder.progress()
    assert found is not None
    assert (found.position, found.lag) == (70, 30)


async def test_a_broker_that_does_not_answer_leaves_it_standing_still(
    measuring: Vitals, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(config: Any, groups: Any) -> list[Position]:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(kafka, "positions", silent)
    await measuring.turn()
    assert folder.progress() is None


async def test_the_backlog_of_the_outbox_is_measured_also_then(
    db: Database, measuring: Vitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch)
    await measuring.turn()
    assert (OUTBOX_EVENTS._value.get(), OUTBOX_AGE_SECONDS._value.get()) == (0, 0)
    await founded(db, now=NOW)
    await measuring.turn()
    assert (OUTBOX_EVENTS._value.get(), OUTBOX_AGE_SECONDS._value.get()) == (1, 30)
