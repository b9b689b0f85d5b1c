"""Decision: from the members' predictions on one ticker to a score, out of fold and live by the same rules."""

from dataclasses import dataclass, replace

import numpy as np

from orchestrator.core.arrays import Flags, Floats, Integers, Positions
from orchestrator.core.draft import Calibration
from orchestrator.core.position import without_edge
from schemas.base import Voting
from serving.calibration import TickerCalibration, calibrate_member, fit_reliability
from serving.voting import expected_return, majority, member_votes, soft


@dataclass(frozen=True, eq=False)
class Rules:
    """How a vote is counted: `weight` (m,) of the members, `cost` of a change of position by one unit as a fraction."""

    voting: Voting
    threshold: float
    cost: float
    min_edge_bps: float
    weight: Floats
    calibration: Calibration = "out_of_fold"


@dataclass(frozen=True, eq=False)
class Ballot:
    """What was decided on n ticks, and by which votes of m members; a row with any prediction missing is NaN.

    `raw` (n,) is the weighted mean of the strengths, NaN of a hard vote. `opinion` (n,) is the score before costs,
    `score` (n,) after them: where `below_costs` (n,), it is drawn in to the threshold so that no position is entered.
    `confidence` (n,) is |score| of a soft vote, the winner's share of a hard one; `p_correct` (n,) the chance that the
    score's direction is right; `expected` (n,) the expected return in the target's unit. `votes`, `strengths` and
    `confidences` are (n, m).
    """

    raw: Floats
    opinion: Floats
    score: Floats
    confidence: Floats
    p_correct: Floats
    expected: Floats
    below_costs: Flags
    votes: Positions
    strengths: Floats
    confidences: Floats


def decide(prediction: Floats, calibration: TickerCalibration, rules: Rules) -> Ballot:
    """Count the vote of predictions (n, m)."""
    strengths = calibration.strengths(prediction)
    confidences = calibration.confidences(strengths)
    votes = member_votes(prediction, rules.min_edge_bps)
    expected = expected_return(prediction, confidences, rules.weight)
    raw = np.full(len(prediction), np.nan)
    if rules.voting == "soft":
        raw = soft(strengths, confidences, rules.weight)
        opinion = calibration.score(raw)
    else:
        opinion, share = majority(votes, rules.weight)
        opinion = np.where(np.isnan(expected), np.nan, opinion)
    score = without_edge(opinion, expected, threshold=rules.threshold, cost=rules.cost)
    return Ballot(
        raw=raw,
        opinion=opinion,
        score=score,
        confidence=np.abs(score) if rules.voting == "soft" else np.where(np.isnan(expected), np.nan, share),
        p_correct=calibration.chance(opinion),
        expected=expected,
        below_costs=np.abs(score) < np.abs(opinion),
        votes=votes,
        strengths=strengths,
        confidences=confidences,
    )


def calibrate(prediction: Floats, target: Floats, rules: Rules) -> TickerCalibration | None:
    """Calibrate the members and their vote on what they predicted out of fold.

    Args:
        prediction: (n, m), NaN where a member had no opinion.
        target: (n,) what came true, NaN where unknown.
        rules: of the vote.

    Returns:
        The calibration, without the chance that a direction is right; None: there is no row that all members
        predicted.
    """
    if not np.isfinite(prediction).all(axis=1).any():
        return None
    members = tuple(calibrate_member(column, target) for column in prediction.T)
    return with_reference(TickerCalibration(members), prediction, rules)


def with_reference(calibration: TickerCalibration, prediction: Floats, rules: Rules) -> TickerCalibration:
    """The calibration, whose reference is what its members' predictions (n, m) amount to; some row is whole."""
    if rules.voting == "hard" or rules.calibration == "none":
        return calibration
    strengths = calibration.strengths(prediction)
    means = soft(strengths, calibration.confidences(strengths), rules.weight)
    return replace(calibration, reference=np.sort(means[np.isfinite(means)]))


def causal_scores(
    prediction: Floats, target: Floats, fold: Integers, rules: Rules, *, reach: int
) -> tuple[Floats, Floats]:
    """What the ensemble would have said out of fold, had it known only the past.

    A fold is calibrated on the folds before it, and of those the last `reach` rows without what came true of them,
    since that was not known yet when the fold began. The first fold only calibrates.

    Args:
        prediction: (n, m) out of fold, in time order.
        target: (n,) what came true, NaN where unknown.
        fold: (n,) number of each row's fold, ascending.
        rules: of the vote.
        reach: bars from a decision to the end of its label.

    Returns:
        Opinion (before costs) and score (after them), each (n,), NaN where there is none.
    """
    opinion, score = np.full(len(fold), np.nan), np.full(len(fold), np.nan)
    for number in np.unique(fold)[1:].tolist():
        start, stop = np.searchsorted(fold, [number, number + 1])
        known = np.where(np.arange(start) < start - reach, target[:start], np.nan)
        calibration = calibrate(prediction[:start], known, rules)
        if calibration is not None:
            ballot = decide(prediction[start:stop], calibration, rules)
            opinion[start:stop], score[start:stop] = ballot.opinion, ballot.score
    return opinion, score


def calibrate_finally(
    prediction: Floats, target: Floats, fold: Integers, rules: Rules, *, reach: int
) -> tuple[TickerCalibration, Floats] | None:
    """The calibration that is frozen with a version, and its causal scores (n,); arguments as in `causal_scores`.

    The chance that a direction is right is learned from the causal opinions, which never saw what they are judged by.
    None: there is no row that all members predicted.
    """
    calibration = calibrate(prediction, target, rules)
    if calibration is None:
        return None
    opinion, score = causal_scores(prediction, target, fold, rules, reach=reach)
    return replace(calibration, reliability=fit_reliability(opinion, target)), score
