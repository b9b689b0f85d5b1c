"""Answering: a batch of ticks in, each ensemble row's decision out, by arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np

from orchestrator.core.arrays import Flags, Floats, Integers, Positions, Times
from orchestrator.core.dataset import SessionPolicy
from schemas.base import Reason, Voting
from serving.decision import decide
from serving.rolling import Worth
from serving.version import LoadedVersion, Panel, ServedVersion
from serving.voting import BPS

NAMED_FEATURES = 5
LARGEST_RETURN = 1e6
"""A millionfold is a broken feature, not a forecast."""
LOST = "member_lost"
Reasons = tuple[Reason, ...]

BELOW_COSTS: Reasons = (
    Reason(
        code="edge_below_costs",
        message="The expected return does not cover the round trip of costs, so no position is entered.",
    ),
)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """n ticks of one timeframe: `tickers` (n,) and `matrix` (n, f), its columns called `names`, NaN where missing.

    `event_time` (n,) are the bars' closes. Rows that are `bound` (n,) to theirs are answered by one version for each
    bar, whatever batch they come in; the others, which go back in time as they like, are answered by the newest one.

    `margin` says how far outside its range in training a feature may lie, in widths of that range, for the ensemble to
    answer; None: anywhere.
    """

    timeframe: str
    tickers: tuple[str, ...]
    names: tuple[str, ...]
    matrix: Floats
    event_time: Times
    bound: Flags
    margin: float | None = None

    def rows(self, rows: Integers) -> Self:
        """Some of its rows, as a batch."""
        return replace(
            self,
            tickers=tuple(self.tickers[row] for row in rows.tolist()),
            matrix=self.matrix[rows],
            event_time=self.event_time[rows],
            bound=self.bound[rows],
        )


@dataclass(frozen=True, eq=False)
class BatchAnswer:
    """What one version of an ensemble says to each of n ticks.

    Rows that the ensemble does not cover are not `covered` (n,), and empty. A row in which it abstains has a score of
    NaN and its `reasons`. `score`, `confidence`, `p_correct` and `edge_bps` are (n,), by the calibration that the
    version was deployed with; `raw` (n,) is the vote before it, `opinion` (n,) the score before costs, and `worth` has
    the tickers whose calibration is to be rolled forward (`serving.rolling`). `votes`, `strengths`, `confidences` and
    `predictions` are (n, m), their columns the `members` of the row's ticker, in order; columns beyond those are NaN (0
    in `votes`), and those of a row in which it abstains mean nothing. A vote is 1 BUY, -1 SELL, 0 HOLD. `edge_bps` is
    the expected return over `horizon` bars.
    """

    served: ServedVersion
    experiment: str | None
    voting: Voting
    threshold: float
    exit_threshold: float
    horizon: int
    session_policy: SessionPolicy
    trained_through: datetime
    members: Mapping[str, tuple[str, ...]]
    calibration_ids: Mapping[str, str]
    worth: Mapping[str, Worth]
    covered: Flags
    raw: Floats
    opinion: Floats
    score: Floats
    confidence: Floats
    p_correct: Floats
    edge_bps: Floats
    votes: Positions
    strengths: Floats
    confidences: Floats
    predictions: Floats
    reasons: tuple[Reasons, ...]

    @property
    def lost(self) -> Flags:
        """Rows (n,) that are whole, and in which members gave no credible prediction."""
        return np.array([any(reason.code == LOST for reason in reasons) for reasons in self.reasons], dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Part:
    """What one version says to some of a batch's rows: `rows` (m,) are their places, `answer` is to m ticks."""

    rows: Integers
    answer: BatchAnswer

    @classmethod
    def whole(cls, answer: BatchAnswer) -> Self:
        """An answer to all rows."""
        return cls(np.arange(len(answer.covered)), answer)


def answer(loaded: LoadedVersion, batch: FeatureBatch) -> BatchAnswer:
    """Answer every tick of a batch with one version."""
    rows, manifest = len(batch.tickers), loaded.manifest
    groups = _groups(loaded, batch)
    width = max((len(panel.voters) for panel, _ in groups.values()), default=0)
    covered, votes = np.zeros(rows, dtype=np.bool_), np.zeros((rows, width), dtype=np.int8)
    raw, opinion, score, confidence, p_correct, edge = np.full((6, rows), np.nan)
    strengths, confidences, predictions = np.full((3, rows, width), np.nan)
    reasons: list[Reasons] = [()] * rows
    place = {name: number for number, name in enumerate(batch.names)}
    for panel, group in groups.values():
        features = _pick(batch.matrix, group, panel.feature_names, place)
        whole = np.logical_and.reduce(np.isfinite(features), axis=1)
        if batch.margin is not None:
            whole &= ~_outside(panel, features, batch.margin).any(axis=1)
        predicted = _predict(panel, features, whole)
        ballot = decide(predicted, panel.calibration, panel.rules)
        given = np.isfinite(ballot.score)
        members = slice(0, len(panel.voters))
        covered[group] = True
        raw[group], opinion[group] = ballot.raw, ballot.opinion
        score[group], confidence[group], p_correct[group] = ballot.score, ballot.confidence, ballot.p_correct
        edge[group] = ballot.expected * BPS
        votes[group, members] = ballot.votes
        strengths[group, members], confidences[group, members] = ballot.strengths, ballot.confidences
        predictions[group, members] = predicted
        for row in np.flatnonzero(given & ballot.below_costs).tolist():
            reasons[group[row]] = BELOW_COSTS
        _say_why(reasons, group[~whole], features[~whole], panel, batch.margin)
        for row in np.flatnonzero(whole & ~given).tolist():
            reasons[group[row]] = _lost(panel, predicted[row])
    return BatchAnswer(
        served=loaded.served,
        experiment=manifest.experiment,
        voting=manifest.voting,
        threshold=manifest.threshold,
        exit_threshold=manifest.exit_threshold,
        horizon=manifest.horizon,
        session_policy=manifest.session_policy,
        trained_through=manifest.trained_through,
        members={ticker: tuple(voter.member for voter in panel.voters) for ticker, (panel, _) in groups.items()},
        calibration_ids={ticker: panel.calibration_id for ticker, (panel, _) in groups.items()},
        worth={ticker: panel.worth for ticker, (panel, _) in groups.items() if panel.worth is not None},
        covered=covered,
        raw=raw,
        opinion=opinion,
        score=score,
        confidence=confidence,
        p_correct=p_correct,
        edge_bps=edge,
        votes=votes,
        strengths=strengths,
        confidences=confidences,
        predictions=predictions,
        reasons=tuple(reasons),
    )


def _groups(loaded: LoadedVersion, batch: FeatureBatch) -> dict[str, tuple[Panel, Integers]]:
    """The batch's covered tickers, each with its panel and its rows."""
    if batch.timeframe != loaded.manifest.timeframe or not batch.tickers:
        return {}
    tickers, which = np.unique(np.asarray(batch.tickers), return_inverse=True)
    order = np.argsort(which, kind="stable")
    rows = np.split(order, np.searchsorted(which[order], np.arange(1, len(tickers))))
    return {
        ticker: (loaded.panels[ticker], group)
        for ticker, group in zip(tickers.tolist(), rows, strict=True)
        if ticker in loaded.panels
    }


def _pick(matrix: Floats, rows: Integers, names: tuple[str, ...], place: Mapping[str, int]) -> Floats:
    """The named columns of some rows; NaN for a column that the batch has not."""
    columns = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    features, present = np.full((len(rows), len(names)), np.nan), columns >= 0
    features[:, present] = matrix[rows[:, None], columns[present]]
    return features


def _outside(panel: Panel, features: Floats, margin: float) -> Flags:
    """Which features (n, f) lie further outside their range in training than `margin` times its width.

    Of one that was constant in training, any other value does; of one whose range is not known, none.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        reach = margin * (panel.high - panel.low)
        flags: Flags = (features < panel.low - reach) | (features > panel.high + reach)
    return flags


def _predict(panel: Panel, features: Floats, whole: Flags) -> Floats:
    """Predictions (n, m), NaN in the rows that are not whole and where they are beyond belief."""
    predicted = np.full((len(features), len(panel.voters)), np.nan)
    usable = features[whole]
    if len(usable):
        for column, voter in enumerate(panel.voters):
            predicted[whole, column] = voter.predictor.predict(usable[:, voter.columns])
    return np.where(np.abs(predicted) <= LARGEST_RETURN, predicted, np.nan)


def _say_why(reasons: list[Reasons], rows: Integers, features: Floats, panel: Panel, margin: float | None) -> None:
    """Write down what is wrong with each of the rows; rows with which the same is wrong share their reasons."""
    if not len(rows):
        return
    faults = np.isnan(features) + 2 * np.isinf(features)
    if margin is not None:
        faults[(faults == 0) & _outside(panel, features, margin)] = 3
    patterns, which = np.unique(faults, axis=0, return_inverse=True)
    said = [_faulty(pattern, panel.feature_names) for pattern in patterns]
    for row, pattern in zip(rows.tolist(), which.ravel().tolist(), strict=True):
        reasons[row] = said[pattern]


def _faulty(pattern: Integers, names: tuple[str, ...]) -> Reasons:
    faults = (
        (1, "missing_feature", "missing"),
        (2, "not_finite", "not finite"),
        (3, "out_of_range", "too far outside the range of training"),
    )
    return tuple(
        Reason(code=code, message=f"{_listed([names[place] for place in places])}: {state}; the ensemble abstains.")
        for kind, code, state in faults
        if len(places := np.flatnonzero(pattern == kind).tolist())
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_FEATURES} more" if len(names) > NAMED_FEATURES else ""
    return ", ".join(names[:NAMED_FEATURES]) + more


def _lost(panel: Panel, predicted: Floats) -> Reasons:
    lost = [voter.member for voter, value in zip(panel.voters, predicted, strict=True) if np.isnan(value)]
    message = f"{_listed(lost)}: no credible prediction, so the ensemble abstains. Look for features out of range."
    return (Reason(code=LOST, message=message),)
