"""Every strategy and every algorithm on the running service, each asked for by a message on Kafka; all at once.

EVERY_COMBINATION=1 runs each strategy with each algorithm.
"""

import os
from typing import Any

import pytest

from schemas.base import Message
from schemas.envelope import decode
from schemas.experiments import ExperimentCompleted, ExperimentFailed, SurvivorsSelected
from schemas.topics import EXPERIMENT_EVENTS, TRIAL_EVENTS
from schemas.trials import TrialCached, TrialCompleted, TrialCreated, TrialFailed, TrialStoppedEarly
from tests.service import PATIENCE_SECONDS, Service, request
from tests.unit.search.combinations import COMBINATIONS, TRIALS, asked

pytestmark = pytest.mark.slow

TICKERS = ("AAPL", "IBM")
CHOSEN = (
    COMBINATIONS
    if os.environ.get("EVERY_COMBINATION")
    else [
        ("random", "elasticnet"),
        ("asha", "lightgbm_regressor"),
        ("bayesian", "random_forest_regressor"),
        ("pbt", "xgboost_regressor"),
        ("multi_ticker_pbt", "lstm"),
    ]
)


@pytest.fixture(scope="module")
def told(service: Service) -> dict[str, list[Any]]:
    """Everything that was said of each experiment, once all have ended."""
    names = set()
    for strategy, algorithm in CHOSEN:
        fields = asked(strategy, algorithm, TICKERS) | {"data_start": "2010-01-01T00:00:00Z"}
        names.add(fields["name"])
        own = request(service, fields["name"], **fields)
        service.ask(**{name: value for name, value in own.items() if name != "param_grid" or "param_grid" in fields})
    ends = (SurvivorsSelected.TYPE.encode(), ExperimentFailed.TYPE.encode())

    def is_end(record: Any) -> bool:
        return (record.key or b"").decode() in names and dict(record.headers)["ce_type"] in ends

    service.await_records(EXPERIMENT_EVENTS, len(names), is_end, patience=len(names) * PATIENCE_SECONDS)
    said: dict[str, list[Any]] = {name: [] for name in names}
    for topic in (EXPERIMENT_EVENTS, TRIAL_EVENTS):
        for record in service.await_records(topic, 1):
            if (name := (record.key or b"").decode()) in names:
                said[name].append(decode(topic.messages, record.value))
    return said


def only(events: list[Any], kind: type[Message]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize(("strategy", "algorithm"), CHOSEN)
def test_it_runs_from_its_request_to_its_survivors(told: dict[str, list[Any]], strategy: str, algorithm: str) -> None:
    events = told[f"{strategy}-{algorithm}"]
    assert not only(events, ExperimentFailed)
    (completed,) = only(events, ExperimentCompleted)
    created = {event.trial for event in only(events, TrialCreated)}
    kinds = (TrialCompleted, TrialCached, TrialStoppedEarly)
    ended = [event.trial for kind in kinds for event in only(events, kind)]
    assert not only(events, TrialFailed)
    assert sorted(ended) == sorted(created)
    assert (completed.finished, completed.failed) == (len(created), 0)
    assert only(events, TrialCompleted) or only(events, TrialCached)
    assert only(events, SurvivorsSelected)
    tickers = {event.tickers for event in only(events, TrialCreated)}
    assert tickers == {TICKERS if strategy == "multi_ticker_pbt" else TICKERS[:1]}
    assert len(created) == TRIALS[strategy]
