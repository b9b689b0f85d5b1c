from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from orchestrator.algorithms.base import Predictor
from orchestrator.search.appraisal import refit
from orchestrator.search.selection import (
    Wish,
    best_of,
    draft_of,
    extended,
    survivors_of,
    told,
    trainable_rows,
    wishes_of,
)
from orchestrator.search.study import Study
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import Trial
from schemas.search import Deploy
from tests.unit.search.studies import TRAINER, driver_settings, predictions_of, search_request, steps_of, study

NOW = datetime(2026, 1, 15, tzinfo=UTC)


def finished(directory: Path, work: Study, sharpes: dict[str, float | None]) -> list[Trial]:
    """The study's trials, over; those without a Sharpe ratio failed."""
    return [
        Trial(
            trial=trial.trial,
            tickers=trial.tickers,
            configuration=dict(trial.configuration),
            fingerprint=trial.fingerprint,
            data_hash=work.data_hash[trial.tickers[0]],
            experiment="experiment",
            status=TrialStatus.COMPLETED if trial.trial in sharpes else TrialStatus.FAILED,
            metrics={work.metric: sharpes[trial.trial]} if trial.trial in sharpes else None,
            eligible=True if trial.trial in sharpes else None,
            reasons=(),
            seconds=1.0,
            created_at=NOW,
            started_at=NOW,
            finished_at=NOW,
        )
        for trial in (step.trial for step in steps_of(directory, work))
    ]


def refitted(directory: Path, work: Study, *names: str) -> dict[str, dict[str, Predictor]]:
    chosen = [step for step in steps_of(directory, work) if step.trial.trial in names]
    return refit(work, TRAINER, chosen, threads=1)


AUTO, MANUAL = Deploy(auto=True), Deploy()


@pytest.mark.parametrize(
    ("clauses", "wishes"),
    [
        ({"a": MANUAL}, (Wish("a", MANUAL),)),
        ({"a": AUTO}, (Wish("a", AUTO),)),
        ({"a": MANUAL, "b": AUTO}, (Wish("b", AUTO),)),
        ({"a": AUTO, "b": AUTO}, (Wish("a", AUTO),)),
        (
            {"a": AUTO, "b": Deploy(auto=True, ensemble_name="other")},
            (Wish("a", AUTO), Wish("b", Deploy(auto=True, ensemble_name="other"))),
        ),
    ],
)
def test_every_different_ensemble_that_is_to_be_deployed_is_made_once(
    clauses: dict[str, Deploy], wishes: tuple[Wish, ...]
) -> None:
    assert wishes_of(clauses, "a") == wishes


def test_the_best_trial_is_the_best_by_the_request_s_metric_and_mode(tmp_path: Path) -> None:
    highest = study(tmp_path, search_request())
    lowest = study(tmp_path, search_request(), mode="min")
    sharpes = {"t00001": 1.0, "t00002": None, "t00003": 2.0}
    best, worst = (
        best_of(highest, finished(tmp_path, highest, sharpes)),
        best_of(lowest, finished(tmp_path, lowest, sharpes)),
    )
    assert best is not None
    assert worst is not None
    assert (best.trial, worst.trial) == ("t00003", "t00001")


def test_there_is_no_best_trial_where_none_has_a_score(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    assert best_of(work, finished(tmp_path, work, {"t00001": None})) is None


def test_survivors_are_told_by_rank_with_their_configurations(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(("AAA", "BBB")))
    trials = finished(tmp_path, work, {"t00001": 1.0, "t00005": 1.0})
    survivors = told(survivors_of(work, trials, predictions_of(tmp_path, work), top_n=3))
    assert [(survivor.trial, survivor.tickers, survivor.rank) for survivor in survivors] == [
        ("t00001", ("AAA",), 1),
        ("t00005", ("BBB",), 1),
    ]
    assert survivors[0].configuration == {"alpha": 0.01, "l1_ratio": 0.1}


def test_a_draft_holds_each_survivor_with_its_out_of_fold_record(tmp_path: Path) -> None:
    request = search_request(("AAA", "BBB"), holdout=50)
    work = study(tmp_path, request)
    known = predictions_of(tmp_path, work)
    selection = survivors_of(work, finished(tmp_path, work, {"t00001": 1.0, "t00006": 1.0}), known, top_n=1)
    predictors = refitted(tmp_path, work, "t00001", "t00006")
    draft = draft_of("experiment", work, selection, predictors, Deploy(threshold=0.6), driver_settings(tmp_path))
    assert (draft.ensemble, draft.voting, draft.threshold, draft.exit_threshold) == ("experiment", "soft", 0.6, 0.3)
    assert [candidate.trial for candidate in draft.candidates] == ["t00001", "t00006"]
    ground = work.grounds["BBB"]
    rows = np.concatenate([fold.test for fold in ground.folds])
    candidate = draft.candidates[1]
    np.testing.assert_array_equal(candidate.prediction, known["t00006"])
    np.testing.assert_array_equal(candidate.event_time, ground.dataset.event_time[rows])
    assert np.bincount(candidate.fold).tolist() == [len(fold.test) for fold in ground.folds]
    assert np.isfinite(candidate.predictor.predict(candidate.probe)).all()
    trained = ground.dataset.features[trainable_rows(ground.dataset)]
    assert [*draft.ranges] == ["AAA", "BBB"]
    assert draft.ranges["BBB"] == {
        name: (trained[:, column].min(), trained[:, column].max())
        for column, name in enumerate(ground.dataset.feature_names)
    }
    profile = draft.profiles["BBB"]
    assert profile.feature_names == ground.dataset.feature_names
    assert (profile.low <= trained.min(axis=0)).all()
    last = np.flatnonzero(trainable_rows(ground.dataset))[-1]
    assert np.datetime64(draft.trained_through.replace(tzinfo=None)) == ground.dataset.event_time[last]


def test_a_draft_foresees_the_hold_out_with_the_predictors_that_would_be_deployed(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(holdout=50))
    selection = survivors_of(work, finished(tmp_path, work, {"t00001": 1.0}), predictions_of(tmp_path, work), top_n=1)
    predictors = refitted(tmp_path, work, "t00001")
    draft = draft_of("experiment", work, selection, predictors, AUTO, driver_settings(tmp_path))
    (before,), (after,) = draft.candidates, extended(draft, work).candidates
    holdout = work.holdouts["AAA"]
    later = slice(len(before.fold), None)
    np.testing.assert_array_equal(after.prediction[: len(before.fold)], before.prediction)
    np.testing.assert_array_equal(
        after.prediction[later], predictors["t00001"]["AAA"].predict(holdout.dataset.features[holdout.start :])
    )
    np.testing.assert_array_equal(after.event_time[later], holdout.dataset.event_time[holdout.start :])
    assert set(after.fold[later]) == {before.fold.max() + 1}
    assert (np.diff(after.event_time) > np.timedelta64(0)).all()


def test_a_survivor_on_several_tickers_votes_on_each(tmp_path: Path) -> None:
    request = search_request(
        ("AAA", "BBB"), strategy="multi_ticker_pbt", param_grid=None, population_size=2, num_generations=1
    )
    work = study(tmp_path, request)
    known = predictions_of(tmp_path, work)
    selection = survivors_of(work, finished(tmp_path, work, {"t00001": 1.0}), known, top_n=2)
    predictors = refitted(tmp_path, work, "t00001")
    draft = draft_of("experiment", work, selection, predictors, Deploy(), driver_settings(tmp_path))
    assert [(each.trial, each.ticker) for each in draft.candidates] == [("t00001", "AAA"), ("t00001", "BBB")]
    np.testing.assert_array_equal(np.concatenate([each.prediction for each in draft.candidates]), known["t00001"])
