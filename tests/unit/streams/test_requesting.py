"""A request as a person writes it, and following it, with events from a list instead of a broker."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from io import StringIO
from threading import Event
from typing import Any

import pytest
from rich.console import Console

from schemas.base import Message, Reason
from schemas.commands import Cancel, Delete, DeployEnsemble, RollBack
from schemas.ensembles import (
    EnsembleDeleted,
    EnsembleDeployed,
    EnsembleDeploying,
    EnsembleFailed,
    EnsembleRolledBack,
)
from schemas.envelope import Undecodable, encode
from schemas.topics import COMMANDS, ENSEMBLE_EVENTS, EXPERIMENT_EVENTS, TRIAL_EVENTS
from streams import requesting
from streams.dead_letters import dead_letter
from streams.display import Display
from streams.following import RequestStory
from streams.requesting import Order, answer_to, answered, follow_request, parse_request
from streams.source import Record
from tests.unit.streams.lives import REASONS, Life

NOW = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
ASKED = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"]}


def test_a_request_without_an_id_gets_one_and_each_its_own() -> None:
    first, second = (parse_request(json.dumps(ASKED), NOW) for _ in range(2))
    assert first.request_id.startswith("20260115-210000-")
    assert first.request_id != second.request_id


def test_a_request_keeps_its_own_id() -> None:
    assert parse_request(json.dumps({"request_id": "mine"} | ASKED), NOW).request_id == "mine"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("no JSON", ["not_json"]),
        ("[]", ["schema"]),
        ("7", ["schema"]),
        (json.dumps(ASKED | {"tickres": 1, "strategy": "guess"}), ["schema", "schema"]),
        ('{"request_id": NaN}', ["not_json"]),
    ],
)
def test_what_is_no_request_is_refused_with_every_fault(text: str, codes: list[str]) -> None:
    with pytest.raises(Undecodable) as refused:
        parse_request(text, NOW)
    assert [reason.code for reason in refused.value.reasons] == codes


class Reading:
    """Gives records, a batch at each read; then nothing, and says so."""

    def __init__(self, *batches: Sequence[Record]) -> None:
        self._batches = list(batches)
        self.exhausted = Event()

    def read(self, timeout: float) -> Sequence[Record]:
        if self._batches:
            return self._batches.pop(0)
        self.exhausted.set()
        return []


def records(topic: str, events: Sequence[Message]) -> list[Record]:
    return [Record(topic, 0, offset, b"key", encode(event)) for offset, event in enumerate(events)]


def following(monkeypatch: pytest.MonkeyPatch, reading: Reading, **options: Any) -> tuple[RequestStory, str]:
    def opened(config: object, since: datetime) -> list[AbstractContextManager[Reading]]:
        return [nullcontext(reading)]

    monkeypatch.setattr(requesting, "opened", opened)
    written = StringIO()
    display = Display(Console(file=written))
    return (
        follow_request({}, "request-mine", deploys=True, since=NOW, display=display, **options),
        written.getvalue(),
    )


def test_a_request_is_followed_to_its_end_and_every_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life().accepted().began().evaluated([0.4, 0.2]).searched().passed().deploying().deployed()
    reading = Reading(
        records(EXPERIMENT_EVENTS.name, life.experiments),
        records(TRIAL_EVENTS.name, life.trials),
        records(ENSEMBLE_EVENTS.name, life.ensembles),
    )
    story, written = following(monkeypatch, reading)
    assert story.succeeded
    assert "accepted as mine: 2 trials on AAPL" in written
    assert "search request-mine: 2/2" in written
    assert "version 1 of bot-mine answers live ticks on signals with 3 members" in written


def test_an_event_of_a_newer_version_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Record(EXPERIMENT_EVENTS.name, 0, 0, b"key", b'{"event": "pondered", "experiment": "mine"}')
    story, _ = following(
        monkeypatch, Reading([unknown], records(EXPERIMENT_EVENTS.name, Life().rejected().experiments))
    )
    assert story.ended


def test_it_ends_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(records(EXPERIMENT_EVENTS.name, Life().accepted().experiments))
    story, _ = following(monkeypatch, reading, stop=reading.exhausted)
    assert (story.experiment, story.ended) == ("mine", False)


def test_it_ends_when_it_has_heard_nothing_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life("other", "request-other").accepted()
    story, _ = following(monkeypatch, Reading(records(EXPERIMENT_EVENTS.name, life.experiments)), patience=0)
    assert (story.experiment, story.ended) == (None, False)


COMMON: dict[str, Any] = {"command_id": "command-1", "issued_at": NOW}
DEPLOY, BACK = DeployEnsemble(**COMMON, ensemble="bot", experiment="mine"), RollBack(**COMMON, ensemble="bot")
DELETE, CANCEL = Delete(**COMMON, ensemble="bot"), Cancel(**COMMON, experiment="mine")


def ensemble_event(kind: Any, command_id: str | None = "command-1", **fields: Any) -> Any:
    base = {"ensemble": "bot", "sequence": 1, "version": 2, "serving_version": 2, "emitted_at": NOW}
    return kind(**base, command_id=command_id, **fields)


def deployed_event(command_id: str | None = "command-1") -> Message:
    served = {"tickers": ("AAPL",), "timeframe": "1d", "mode": "live", "members": 1, "manifest_digest": "0" * 64}
    return ensemble_event(EnsembleDeployed, command_id, experiment="mine", **served)  # type: ignore[no-any-return]


def by_command(life: Life) -> Message:
    return life.experiments[-1]


@pytest.mark.parametrize(
    ("command", "event", "reasons"),
    [
        (DEPLOY, deployed_event(), ()),
        (DEPLOY, deployed_event("another"), None),
        (DEPLOY, deployed_event(None), None),
        (DEPLOY, ensemble_event(EnsembleDeploying, experiment="mine"), None),
        (DEPLOY, ensemble_event(EnsembleFailed, reasons=REASONS), REASONS),
        (DEPLOY, by_command(Life(request_id="command-1").refused()), REASONS),
        (DEPLOY, by_command(Life(request_id="command-1").refused(overridden=True)), None),
        (DEPLOY, by_command(Life(request_id="another").refused()), None),
        (DEPLOY, by_command(Life(request_id="command-1").rejected()), REASONS),
        (BACK, deployed_event(), ()),
        (BACK, ensemble_event(EnsembleRolledBack), None),
        (BACK, ensemble_event(EnsembleFailed, reasons=REASONS), REASONS),
        (DELETE, ensemble_event(EnsembleDeleted), ()),
        (CANCEL, by_command(Life().cancelled()), ()),
        (CANCEL, by_command(Life("another").cancelled()), None),
    ],
)
def test_a_command_is_answered_by_the_event_that_ends_it(
    command: Order, event: Message, reasons: tuple[Reason, ...] | None
) -> None:
    answer = answered(command, event)
    assert (None if answer is None else answer.reasons) == reasons
    assert answer is None or answer.event == (None if reasons else event)


def test_a_command_that_is_buried_is_answered_with_its_reasons_and_what_is_unknown_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buried = Record(COMMANDS.name, 0, 0, None, encode(DELETE))
    letter = dead_letter(buried, REASONS, NOW)
    unknown = Record(ENSEMBLE_EVENTS.name, 0, 0, b"key", b'{"event": "pondered"}')
    reading = Reading([unknown], [Record(letter.topic, 0, 0, None, letter.value, tuple(letter.headers))])
    monkeypatch.setattr(requesting, "TopicReader", lambda *arguments, **options: nullcontext(reading))
    answer = answer_to({}, DELETE, patience=60)
    assert answer is not None
    assert answer.reasons == REASONS
    assert answer_to({}, DELETE, patience=0) is None
