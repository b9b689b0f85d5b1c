from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.testing import assert_allclose

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Dataset, Terms, prepare
from orchestrator.core.scoring import evaluate_history, score_history, trade
from orchestrator.core.splits import Fold, FoldPlan

SPAN = datetime(2010, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)


def dataset() -> Dataset:
    closes = calendar_named().session_closes(*SPAN)
    price = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.01, len(closes))))
    bars = Bars("AAPL", "1d", closes, price, ("a",), np.zeros((len(closes), 1)), "0" * 64, open=price)
    return prepare(bars, Terms(), calendar_named())


def out_of_fold(of: Dataset, folds: tuple[Fold, ...], skill: float) -> Floats:
    rows = np.concatenate([fold.test for fold in folds])
    noise = np.random.default_rng(6).normal(0, 0.01, len(rows))
    predicted: Floats = skill * np.nan_to_num(of.target[rows]) + noise
    return predicted


def test_a_fold_is_calibrated_on_the_folds_before_it() -> None:
    prediction = np.array([1.0, 3.0, 2.0, 9.0, 2.0, np.nan])
    scores = score_history(prediction, np.array([0, 0, 1, 1, 2, 2]))
    assert_allclose(scores, [np.nan, np.nan, 0.0, 1.0, -0.25, np.nan])


def test_the_first_fold_only_calibrates() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    history = evaluate_history(whole, folds, out_of_fold(whole, folds, 0.5), threshold=0.7, cost=0.0002)
    calibrating = len(folds[0].test)
    assert np.isnan(history.score[:calibrating]).all()
    assert not history.position[:calibrating].any()
    assert not history.counted[:calibrating].any()
    assert history.session_ids[0] == whole.session[folds[1].test[0]]
    assert history.eligible
    assert history.reasons == ()


def test_profit_has_no_gap_and_adds_up() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    history = evaluate_history(whole, folds, out_of_fold(whole, folds, 0.5), threshold=0.7, cost=0.0002)
    assert np.isfinite(history.net[history.counted]).all()
    assert np.isnan(history.net[-2:]).all()
    assert history.session_profit.sum() == pytest.approx(history.metrics["net_return"])
    assert len(history.session_ids) == len(history.session_profit) == len(history.active_profit)
    assert history.metrics["sharpe_ratio"] is not None
    assert history.metrics["sharpe_ratio"] > 1


def test_predictions_that_do_not_pay_for_the_round_trip_enter_nothing() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    tiny = out_of_fold(whole, folds, 0.5) * 1e-3
    assert not evaluate_history(whole, folds, tiny, threshold=0.7, cost=0.0002).position.any()
    assert evaluate_history(whole, folds, tiny, threshold=0.7, cost=0.0).position.any()


def test_a_prediction_that_is_constant_in_a_fold_is_not_eligible() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    prediction = out_of_fold(whole, folds, 0.5)
    prediction[-len(folds[5].test) :] = 0.001
    history = evaluate_history(whole, folds, prediction, threshold=0.7, cost=0.0)
    assert not history.eligible
    assert [(reason.code, reason.where) for reason in history.reasons] == [("constant_prediction", "fold 5")]


def test_a_fold_without_predictions_is_not_eligible() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    nothing = np.full(sum(len(fold.test) for fold in folds), np.nan)
    history = evaluate_history(whole, folds, nothing, threshold=0.7, cost=0.0)
    assert not history.eligible
    assert {reason.code for reason in history.reasons} == {"no_prediction"}
    assert history.metrics["sharpe_ratio"] is None
    assert not history.counted.any()


def test_the_exit_threshold_is_half_the_entry_threshold_unless_given() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    prediction = out_of_fold(whole, folds, 0.5)
    silent = evaluate_history(whole, folds, prediction, threshold=0.6, cost=0.0)
    given = evaluate_history(whole, folds, prediction, threshold=0.6, exit_threshold=0.3, cost=0.0)
    eager = evaluate_history(whole, folds, prediction, threshold=0.6, exit_threshold=0.6, cost=0.0)
    assert silent.position.tolist() == given.position.tolist()
    assert silent.position.tolist() != eager.position.tolist()


def test_scores_from_elsewhere_are_followed_on_the_rows_given() -> None:
    whole = dataset()
    rows = np.arange(100, 110)
    scores = np.array([np.nan, np.nan, 0.9, np.nan, 0.5, 0.1, -0.9, -0.9, 0.5, np.nan])
    history = trade(whole, rows, scores, threshold=0.7, exit_threshold=0.35, cost=0.0)
    assert history.position.tolist() == [0, 0, 1, 1, 1, 0, -1, -1, 0, 0]
    assert history.counted.tolist() == [False] * 2 + [True] * 8
    expected = history.position[2:] * whole.bar_return[102:110]
    assert_allclose(history.net[2:], expected)


def test_predictions_of_another_length_are_an_error() -> None:
    whole = dataset()
    folds = FoldPlan().split(whole.label_end)
    with pytest.raises(ValueError, match="test rows"):
        evaluate_history(whole, folds, np.zeros(3), threshold=0.7, cost=0.0)
    with pytest.raises(ValueError, match="1 folds"):
        evaluate_history(whole, folds[:1], np.zeros(len(folds[0].test)), threshold=0.7, cost=0.0)
