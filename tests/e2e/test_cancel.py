"""A search is cancelled and gone on with, as an operator does it."""

import time
from collections import Counter
from typing import Any

import pytest

from schemas.experiments import ExperimentAccepted
from schemas.topics import EXPERIMENT_EVENTS, TRIAL_EVENTS
from schemas.trials import TrialCompleted
from streams.following import event_of
from tests.service import Service, of_type, request

pytestmark = pytest.mark.slow

TRIALS = 30
QUIET_SECONDS = 6.0


def _events(service: Service, experiment: str, message: Any, enough: int) -> list[Any]:
    topic = TRIAL_EVENTS if message is TrialCompleted else EXPERIMENT_EVENTS
    records = service.await_records(topic, enough, lambda record: (record.key or b"") == experiment.encode())
    return [event_of(record) for record in of_type(records, message)]


def test_a_search_is_cancelled_within_seconds_and_resumed_where_it_was(service: Service) -> None:
    asked = request(
        service,
        "to-be-cancelled",
        name="stopped",
        seed=11,
        algorithm="lightgbm_regressor",
        tickers=["AAPL"],
        param_grid={"learning_rate": [0.01 * number for number in range(1, TRIALS + 1)], "n_estimators": [400]},
    )
    service.ask(**asked)
    assert _events(service, "stopped", ExperimentAccepted, 1)
    deadline = time.monotonic() + 120
    while not (done := _events(service, "stopped", TrialCompleted, 0)):
        assert time.monotonic() < deadline
    assert len(done) < TRIALS

    cancelled = service.command("cancel", "stopped")
    assert (cancelled.returncode, cancelled.stdout) == (0, "stopped is cancelled\n"), cancelled.stderr
    time.sleep(QUIET_SECONDS)
    kept = _events(service, "stopped", TrialCompleted, 0)
    time.sleep(QUIET_SECONDS)
    assert _events(service, "stopped", TrialCompleted, 0) == kept
    again = service.command("cancel", "stopped")
    assert again.returncode == 1
    assert "nothing to stop" in again.stderr

    resumed = service.command("resume", "stopped")
    assert (resumed.returncode, resumed.stdout) == (0, "stopped is resumed\n"), resumed.stderr
    story = service.follow(service.ask(**{**asked, "request_id": "once-more", "resume": True}), deploys=False)
    assert story.succeeded, story
    every = Counter(event.trial for event in _events(service, "stopped", TrialCompleted, 0))
    assert set(every.values()) == {1}
    assert len(every) == TRIALS
