from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from orchestrator.algorithms.base import Configuration
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.arrays import Floats
from orchestrator.core.errors import Refused
from orchestrator.core.scoring import evaluate_history
from orchestrator.core.splits import Fold
from orchestrator.search.evaluation import MESSAGE_LENGTH, evaluate, reasons_of
from orchestrator.search.outcomes import Failed, Scored
from orchestrator.search.plan import Block
from orchestrator.search.study import Study
from schemas.base import Reason
from tests.unit.search.studies import GRID, TRAINER, search_request, study


class Stopwatch:
    """Moves on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Fragile(ElasticNetTrainer):
    """Breaks in one configuration, as a foreign algorithm may: with any exception, for the whole call."""

    def evaluate(
        self,
        configurations: Sequence[Configuration],
        features: Floats,
        target: Floats,
        folds: Sequence[Fold],
        seed: int,
    ) -> Floats:
        if any(configuration["alpha"] == GRID["alpha"][1] for configuration in configurations):
            raise ZeroDivisionError("alpha is out of its depth")
        return super().evaluate(configurations, features, target, folds, seed)


def whole(work: Study) -> Block:
    return Block(0, work.trials[0].ticker, work.trials)


def test_a_trial_is_scored_as_by_a_direct_call_of_the_trainer(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    ground = work.grounds["AAA"]
    outcomes = evaluate(whole(work), ground, work.rules, TRAINER, Stopwatch())
    predictions = TRAINER.evaluate(
        [trial.configuration for trial in work.trials],
        ground.dataset.features,
        ground.dataset.target,
        ground.folds,
        work.rules.seed,
    )
    for trial, outcome, prediction in zip(work.trials, outcomes, predictions, strict=True):
        assert isinstance(outcome, Scored)
        expected = evaluate_history(ground.dataset, ground.folds, prediction, threshold=0.7, cost=ground.cost)
        assert outcome.trial == trial.trial
        assert outcome.metrics == expected.metrics
        assert outcome.eligible
        np.testing.assert_array_equal(outcome.prediction, prediction)
        np.testing.assert_array_equal(outcome.session_profit, expected.session_profit)
        np.testing.assert_array_equal(outcome.session_ids, expected.session_ids)


def test_a_configuration_that_cannot_be_trained_fails_alone(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    outcomes = evaluate(whole(work), work.grounds["AAA"], work.rules, Fragile(), Stopwatch())
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [outcome.trial for outcome in outcomes] == [trial.trial for trial in work.trials]
    assert [outcome.trial for outcome in failed] == ["t00003", "t00004"]
    (reason,) = failed[0].reasons
    assert reason.code == "unexpected_error"
    assert reason.message == "ZeroDivisionError: alpha is out of its depth"


def test_trials_that_were_trained_together_share_the_time(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    outcomes = evaluate(whole(work), work.grounds["AAA"], work.rules, TRAINER, Stopwatch())
    assert [outcome.seconds for outcome in outcomes] == [0.25] * 4


def test_a_refusal_keeps_its_reasons() -> None:
    reason = Reason(code="too_few_rows", message="Give more rows.")
    assert reasons_of(Refused([reason])) == (reason,)


@pytest.mark.parametrize("error", [ValueError("x" * 10_000), Refused([])])
def test_any_error_becomes_a_reason_that_an_event_can_carry(error: Exception) -> None:
    (reason,) = reasons_of(error)
    assert len(reason.message) <= MESSAGE_LENGTH
    assert type(error).__name__ in reason.message
