"""Scoring: from predictions to scores, positions, profit and metrics, by the same rules as live signals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.core.arrays import Flags, Floats, Integers, Positions
from orchestrator.core.dataset import Dataset
from orchestrator.core.deflation import NO_VARIANCE
from orchestrator.core.metrics import Metrics, score
from orchestrator.core.position import positions, without_edge
from orchestrator.core.profit import active_part, by_session, net_returns
from orchestrator.core.splits import Fold
from orchestrator.core.strength import calibrated
from schemas.base import Reason

SCORING = 1
"""Goes up whenever the same predictions would have another score, or the same features be refused: what is known by its
fingerprint is then new work."""


@dataclass(frozen=True, eq=False)
class History:
    """What following a score would have earned.

    `rows` (k,) are the dataset's rows, ascending; `score`, `position`, `net` and `counted` are (k,) beside them. Only
    `counted` rows are in the profit: from the first score on, and with a known bar return; `net` is NaN elsewhere.
    `session_profit` and `active_profit` (n_sessions,) are sums by session, beside `session_ids`; the active part is
    what is beyond merely holding the mean position. Ineligible for the `reasons`, a trial is never selected.
    """

    rows: Integers
    score: Floats
    position: Positions
    net: Floats
    counted: Flags
    session_ids: Integers
    session_profit: Floats
    active_profit: Floats
    metrics: Metrics
    eligible: bool = True
    reasons: tuple[Reason, ...] = ()


def score_history(prediction: Floats, fold: Integers) -> Floats:
    """Causal scores of one model's out-of-fold predictions.

    A fold is calibrated on the out-of-fold predictions of the folds before it; the first fold only calibrates, so that
    its scores are NaN. The strength of a single model ascends with its prediction, so its score is 2 F(prediction) - 1.

    Args:
        prediction: (n_oof,) in time order; NaN (no opinion) stays NaN.
        fold: (n_oof,) number of each bar's fold, ascending.
    """
    scores = np.full(len(prediction), np.nan)
    starts = np.flatnonzero(np.diff(fold, prepend=fold[:1] - 1))
    stops = np.append(starts[1:], len(fold))
    for start, stop in zip(starts, stops, strict=True):
        past = prediction[:start]
        reference = np.sort(past[np.isfinite(past)])
        if len(reference):
            scores[start:stop] = calibrated(prediction[start:stop], reference)
    return scores


def trade(
    dataset: Dataset, rows: Integers, scores: Floats, *, threshold: float, exit_threshold: float, cost: float
) -> History:
    """Follow scores (k,) on the consecutive `rows` (k,) of a dataset, starting flat.

    Profit is counted from the first row that has a score; later rows without one keep their position. `cost` is of a
    change of position by one unit, as a fraction.
    """
    # A slice, not the row numbers: nothing is copied.
    span = slice(rows[0], rows[-1] + 1) if len(rows) else slice(0)
    flat, bar_return, session = dataset.flat[span], dataset.bar_return[span], dataset.session[span]
    held = positions(scores, threshold=threshold, exit_threshold=exit_threshold, flat=flat)
    counted = np.logical_or.accumulate(np.isfinite(scores)) & np.isfinite(bar_return)
    net = net_returns(held, bar_return, cost)
    kept = _part(counted)
    net_counted, held_counted, return_counted, session_counted = net[kept], held[kept], bar_return[kept], session[kept]
    session_ids, session_profit = by_session(net_counted, session_counted)
    active = active_part(net_counted, held_counted, return_counted) if len(session_counted) else net_counted
    active_profit = by_session(active, session_counted)[1]
    del active
    return History(
        rows=rows,
        score=scores,
        position=held,
        net=np.where(counted, net, np.nan),
        counted=counted,
        session_ids=session_ids,
        session_profit=session_profit,
        active_profit=active_profit,
        metrics=score(net_counted, return_counted, held_counted, session_counted, dataset.sessions_per_year),
    )


def _part(chosen: Flags) -> Flags | slice:
    """What picks the chosen rows, without a copy where they follow one another, as they mostly do."""
    first, count = int(np.argmax(chosen)) if len(chosen) else 0, int(np.count_nonzero(chosen))
    return slice(first, first + count) if chosen[first : first + count].all() else chosen


def evaluate_history(
    dataset: Dataset,
    folds: Sequence[Fold],
    prediction: Floats,
    *,
    threshold: float,
    exit_threshold: float | None = None,
    cost: float,
) -> History:
    """Score one trial by its out-of-fold predictions.

    Args:
        dataset: what was predicted.
        folds: two at least; the first only calibrates.
        prediction: (n_oof,) the folds' test rows one fold after the other, NaN where the model has no opinion.
        threshold: beyond it a position is taken.
        exit_threshold: within it a position is left; None: half of `threshold`.
        cost: of a change of position by one unit, as a fraction.

    Returns:
        The history; not eligible where the prediction is constant in a fold (`constant_prediction`) or missing in all
        of one (`no_prediction`).

    Raises:
        ValueError: there are fewer than two folds, or another number of predictions than test rows.
    """
    rows = np.concatenate([fold.test for fold in folds])
    if len(folds) < 2 or prediction.shape != rows.shape:
        raise ValueError(f"{len(folds)} folds have {len(rows)} test rows, but there are predictions {prediction.shape}")
    number = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    scores = without_edge(score_history(prediction, number), prediction, threshold=threshold, cost=cost)
    history = trade(
        dataset,
        rows,
        scores,
        threshold=threshold,
        exit_threshold=threshold / 2 if exit_threshold is None else exit_threshold,
        cost=cost,
    )
    reasons = tuple(reason for place in range(len(folds)) for reason in _faults(place, prediction[number == place]))
    return replace(history, eligible=not reasons, reasons=reasons)


def _faults(fold: int, prediction: Floats) -> tuple[Reason, ...]:
    known = prediction[np.isfinite(prediction)]
    if not len(known):
        message = "the model predicts nothing in this fold"
        return (Reason(code="no_prediction", where=f"fold {fold}", message=message),)
    if np.ptp(known) <= NO_VARIANCE * np.max(np.abs(known)):
        message = f"the model predicts {known[0]:.3g} whatever the features are; its penalty may be too large"
        return (Reason(code="constant_prediction", where=f"fold {fold}", message=message),)
    return ()
