from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.algorithms.base import Configuration
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.algorithms.walk import Walk
from orchestrator.core.errors import Refused
from orchestrator.core.metrics import OBJECTIVE
from orchestrator.core.scoring import evaluate_history
from orchestrator.search.evaluation import MESSAGE_LENGTH, evaluate, objective_of, reasons_of
from orchestrator.search.outcomes import Failed, Scored
from schemas.base import Reason
from tests.unit.search.studies import GRID, TRAINER, bench, search_request, study, whole


class Stopwatch:
    """Moves on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Fragile(ElasticNetTrainer):
    """Breaks in one configuration, as a foreign algorithm may: with any exception, for the whole call."""

    def prepare(self, *args: Any, **fields: Any) -> Any:
        return FragileTraining(super().prepare(*args, **fields))


class FragileTraining:
    def __init__(self, training: Any) -> None:
        self._training = training

    def fit(self, configurations: Sequence[Configuration], **fields: Any) -> Any:
        if any(configuration["alpha"] == GRID["alpha"][1] for configuration in configurations):
            raise ZeroDivisionError("alpha is out of its depth")
        return self._training.fit(configurations, **fields)


def test_a_trial_is_scored_as_by_a_direct_call_of_the_family(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    ground = work.grounds["AAA"]
    job = whole(tmp_path, work)
    outcomes = evaluate(job, bench(work))
    rows = ground.dataset
    walk = Walk(TRAINER, rows.features, rows.target, ground.folds, rows.feature_names, seed=42, threads=1)
    predictions, _ = walk.forward([step.trial.configuration for step in job.steps])
    for step, outcome, prediction in zip(job.steps, outcomes, predictions, strict=True):
        assert isinstance(outcome, Scored)
        expected = evaluate_history(ground.dataset, ground.folds, prediction, threshold=0.7, cost=ground.cost)
        assert outcome.trial == step.trial.trial
        assert outcome.metrics == expected.metrics
        assert outcome.eligible
        np.testing.assert_array_equal(outcome.prediction, prediction)
        np.testing.assert_array_equal(outcome.earned[0].profit, expected.session_profit)
        np.testing.assert_array_equal(outcome.earned[0].session_ids, expected.session_ids)


def test_a_trial_on_several_tickers_has_their_means_and_the_mean_plus_the_worst(tmp_path: Path) -> None:
    request = search_request(
        ("AAA", "BBB"), strategy="multi_ticker_pbt", param_grid=None, population_size=2, num_generations=1
    )
    work = study(tmp_path, request)
    first, _ = evaluate(whole(tmp_path, work), bench(work))
    assert isinstance(first, Scored)
    assert [earned.ticker for earned in first.earned] == ["AAA", "BBB"]
    begin, sharpes = 0, []
    for ticker in ("AAA", "BBB"):
        ground = work.grounds[ticker]
        rows = sum(len(fold.test) for fold in ground.folds)
        prediction = np.asarray(first.prediction)[begin : begin + rows]
        history = evaluate_history(ground.dataset, ground.folds, prediction, threshold=0.7, cost=ground.cost)
        sharpes.append(history.metrics["sharpe_ratio"] or 0.0)
        begin += rows
    assert begin == len(first.prediction)
    assert first.metrics["sharpe_ratio"] == pytest.approx(np.mean(sharpes))
    assert first.metrics[OBJECTIVE] == pytest.approx(np.mean(sharpes) + min(sharpes))


@given(st.lists(st.none() | st.floats(-3, 3), min_size=1, max_size=5), st.booleans())
def test_the_objective_needs_every_ticker_and_counts_the_worst(values: list[float | None], higher: bool) -> None:
    found = objective_of([{"psr": value} for value in values], "psr", higher_is_better=higher)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        assert found is None
    else:
        assert found == pytest.approx(np.mean(known) + (min(known) if higher else max(known)))


def test_a_configuration_that_cannot_be_trained_fails_alone(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    job = whole(tmp_path, work)
    outcomes = evaluate(job, bench(work, Fragile()))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [outcome.trial for outcome in outcomes] == [step.trial.trial for step in job.steps]
    assert [outcome.trial for outcome in failed] == ["t00003", "t00004"]
    (reason,) = failed[0].reasons
    assert reason.code == "unexpected_error"
    assert reason.message == "ZeroDivisionError: alpha is out of its depth"


def test_steps_that_were_trained_together_share_the_time(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    outcomes = evaluate(whole(tmp_path, work), bench(work, clock=Stopwatch()))
    assert [outcome.seconds for outcome in outcomes] == [0.5] * 4
    assert [outcome.training for outcome in outcomes if isinstance(outcome, Scored)] == [0.25] * 4


def test_a_refusal_keeps_its_reasons() -> None:
    reason = Reason(code="too_few_rows", message="Give more rows.")
    assert reasons_of(Refused([reason])) == (reason,)


@pytest.mark.parametrize("error", [ValueError("x" * 10_000), Refused([])])
def test_any_error_becomes_a_reason_that_an_event_can_carry(error: Exception) -> None:
    (reason,) = reasons_of(error)
    assert len(reason.message) <= MESSAGE_LENGTH
    assert type(error).__name__ in reason.message
