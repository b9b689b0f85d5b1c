from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.scoring import score_history
from schemas.base import Voting
from serving.calibration import COIN, MemberCalibration, TickerCalibration
from serving.decision import Rules, calibrate, calibrate_finally, causal_scores, decide

ROWS, FOLDS, REACH = 90, 3, 2
FOLD: Integers = np.repeat(np.arange(FOLDS), ROWS // FOLDS)
SEEDS = st.integers(0, 2**32 - 1)
VOTING: st.SearchStrategy[Voting] = st.sampled_from(("soft", "hard"))


def record(seed: int, members: int) -> tuple[Floats, Floats]:
    """Predictions (n, m) that know a little of the target (n,)."""
    rng = np.random.default_rng(seed)
    target = 0.01 * rng.normal(size=ROWS)
    return 0.2 * target[:, None] + 0.005 * rng.normal(size=(ROWS, members)), target


def rules(members: int, voting: Voting = "soft", cost: float = 0.0) -> Rules:
    threshold = 0.7 if voting == "soft" else 0.0
    return Rules(voting=voting, threshold=threshold, cost=cost, min_edge_bps=10.0, weight=np.ones(members))


def calibrated(seed: int, members: int, counted: Rules) -> TickerCalibration:
    calibration = calibrate(*record(seed, members), counted)
    assert calibration is not None
    return calibration


@given(SEEDS)
def test_an_ensemble_of_one_scores_as_its_member_does(seed: int) -> None:
    prediction, target = record(seed, 1)
    opinion, score = causal_scores(prediction, target, FOLD, rules(1), reach=REACH)
    expected = score_history(prediction[:, 0], FOLD)
    assert np.isnan(opinion[FOLD == 0]).all()
    assert opinion == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.array_equal(opinion, score, equal_nan=True)


@given(SEEDS, st.integers(1, 5), VOTING)
def test_the_order_of_the_members_means_nothing(seed: int, members: int, voting: Voting) -> None:
    prediction, target = record(seed, members)
    order = np.random.default_rng(seed).permutation(members)
    one = causal_scores(prediction, target, FOLD, rules(members, voting), reach=REACH)
    other = causal_scores(prediction[:, order], target, FOLD, rules(members, voting), reach=REACH)
    # Means of the same votes in another order may differ in the last bit, and fall on the other side of their like.
    assert other[0] == pytest.approx(one[0], abs=2.001 / (ROWS // FOLDS), nan_ok=True)


@given(SEEDS, st.integers(1, 5), VOTING, st.integers(1, FOLDS - 1))
def test_the_future_changes_no_score(seed: int, members: int, voting: Voting, fold: int) -> None:
    prediction, target = record(seed, members)
    counted, later, start = rules(members, voting), np.greater(FOLD, fold), int(np.searchsorted(FOLD, fold))
    scores = causal_scores(prediction, target, FOLD, counted, reach=REACH)[1]
    other, unknown = prediction.copy(), target.copy()
    other[later] *= -3
    unknown[start - REACH :] = 9.9
    changed = causal_scores(other, unknown, FOLD, counted, reach=REACH)[1]
    assert np.array_equal(changed[~later], scores[~later], equal_nan=True)


@given(SEEDS, st.integers(1, 5), VOTING, st.sampled_from([0.0, 0.001, 1.0]))
def test_scores_confidences_and_chances_stay_in_range(seed: int, members: int, voting: Voting, cost: float) -> None:
    counted, (prediction, target) = rules(members, voting, cost), record(seed, members)
    fitted = calibrate_finally(prediction, target, FOLD, counted, reach=REACH)
    assert fitted is not None
    ballot = decide(record(seed + 1, members)[0] * 3, fitted[0], counted)
    assert (np.abs(ballot.score) <= np.abs(ballot.opinion)).all()
    assert (np.abs(ballot.opinion) <= 1).all()
    assert ((ballot.confidence >= 0) & (ballot.confidence <= 1)).all()
    assert ((ballot.confidences > 0) & (ballot.confidences <= 1)).all()
    assert ((ballot.p_correct > 0) & (ballot.p_correct <= 1) | (ballot.opinion == 0)).all()
    assert (np.abs(ballot.strengths) <= 1).all()


@given(SEEDS, st.integers(1, 5), VOTING)
def test_no_position_is_entered_below_the_costs(seed: int, members: int, voting: Voting) -> None:
    counted = rules(members, voting, cost=0.002)
    ballot = decide(record(seed + 1, members)[0], calibrated(seed, members, counted), counted)
    cheap = np.sign(ballot.opinion) * ballot.expected < 2 * counted.cost
    assert (np.abs(ballot.score[cheap]) <= counted.threshold).all()
    assert ballot.score[~cheap].tolist() == ballot.opinion[~cheap].tolist()
    assert (ballot.below_costs <= cheap).all()


@given(SEEDS, st.integers(1, 5), VOTING)
def test_turning_every_prediction_turns_the_score_where_the_past_is_symmetric(
    seed: int, members: int, voting: Voting
) -> None:
    counted = rules(members, voting)
    calibration = calibrated(seed, members, counted)
    if calibration.reference is not None:
        both = np.sort(np.concatenate([calibration.reference, -calibration.reference]))
        calibration = replace(calibration, reference=both)
    prediction = record(seed + 1, members)[0]
    score = decide(prediction, calibration, counted).score
    assert decide(-prediction, calibration, counted).score == pytest.approx(-score, abs=1e-12)


@given(SEEDS, st.integers(1, 5))
def test_equally_trusted_members_that_say_more_never_lower_the_score(seed: int, members: int) -> None:
    counted = rules(members)
    calibration = calibrated(seed, members, counted)
    alike = tuple(MemberCalibration(member.reference, COIN) for member in calibration.members)
    calibration, rng = replace(calibration, members=alike), np.random.default_rng(seed)
    prediction = record(seed + 1, members)[0]
    raised = prediction + 0.01 * rng.random(prediction.shape)
    # Half a tie: means that differ in the last bit only may change places.
    lowest = decide(prediction, calibration, counted).score - 2.001 / ROWS
    assert (decide(raised, calibration, counted).score >= lowest).all()


@given(SEEDS, st.integers(2, 5), VOTING)
def test_a_row_does_not_depend_on_the_rows_beside_it(seed: int, members: int, voting: Voting) -> None:
    counted = rules(members, voting, cost=0.001)
    calibration, prediction = calibrated(seed, members, counted), record(seed + 1, members)[0][:5]
    together = decide(prediction, calibration, counted)
    for row in range(len(prediction)):
        alone = decide(prediction[row : row + 1], calibration, counted)
        assert alone.score[0] == together.score[row]
        assert alone.expected[0] == together.expected[row]


@given(SEEDS, st.integers(2, 5), VOTING)
def test_a_member_without_an_opinion_silences_the_row(seed: int, members: int, voting: Voting) -> None:
    counted = rules(members, voting)
    calibration, prediction = calibrated(seed, members, counted), record(seed + 1, members)[0]
    prediction[3, 1] = np.nan
    ballot = decide(prediction, calibration, counted)
    assert np.flatnonzero(np.isnan(ballot.score)).tolist() == [3]
    assert np.isnan(ballot.confidence[3])
    assert not ballot.below_costs[3]


@given(SEEDS, st.integers(1, 5))
def test_without_calibration_the_score_is_the_weighted_mean_itself(seed: int, members: int) -> None:
    literal = replace(rules(members), calibration="none")
    calibration, prediction = calibrated(seed, members, literal), record(seed + 1, members)[0]
    ballot = decide(prediction, calibration, literal)
    mean = (ballot.confidences * ballot.strengths).sum(axis=1) / ballot.confidences.sum(axis=1)
    assert ballot.opinion == pytest.approx(mean)


@given(SEEDS, st.integers(1, 4))
def test_the_score_is_spread_evenly_over_the_past(seed: int, members: int) -> None:
    counted = rules(members)
    ballot = decide(record(seed, members)[0], calibrated(seed, members, counted), counted)
    assert np.mean(ballot.score) == pytest.approx(0, abs=1e-9)
    assert np.mean(np.abs(ballot.score) > 0.5) == pytest.approx(0.5, abs=2 / ROWS)
