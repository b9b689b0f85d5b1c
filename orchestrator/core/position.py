"""The position function: one rule for the score, the gate and live signals."""

import math

import numpy as np

from orchestrator.core.arrays import Flags, Floats, Positions


def position(score: float, previous: int, *, threshold: float, exit_threshold: float, flat: bool = False) -> int:
    """What to hold now: -1 short, 0 flat, 1 long.

    Beyond `threshold` the score's sign; flat where the score is within `exit_threshold` or points against `previous`;
    otherwise, and where the score is NaN (no opinion), `previous`. `flat` overrules all of it with 0.
    """
    if flat:
        return 0
    if math.isnan(score):
        return previous
    if abs(score) > threshold:
        return 1 if score > 0 else -1
    if abs(score) < exit_threshold or score * previous < 0:
        return 0
    return previous


def positions(
    scores: Floats, *, threshold: float, exit_threshold: float, flat: Flags | None = None, initial: int = 0
) -> Positions:
    """`position` applied bar after bar.

    Args:
        scores: (n,) in time order, NaN where there is no opinion.
        threshold: beyond it a position is taken.
        exit_threshold: within it a position is left.
        flat: (n,) bars at which the position must be 0; None: none.
        initial: the position before the first bar.
    """
    magnitude = np.abs(scores)
    enters = magnitude > threshold
    leaves = ~enters & (magnitude < exit_threshold)
    if flat is not None:
        enters, leaves = enters & ~flat, leaves | flat
    stays = ~(enters | leaves)
    # Bars that decide by themselves set the position; after each, it stands until the first score against it.
    decided = _latest(~stays)
    held = np.where(decided < 0, initial, np.where(enters, np.sign(scores), 0.0)[decided])
    against_long, against_short = _latest(stays & (scores < 0)), _latest(stays & (scores > 0))
    held[((held > 0) & (against_long > decided)) | ((held < 0) & (against_short > decided))] = 0
    return held.astype(np.int8)


def drawn_in(score: float, expected: float, *, threshold: float, cost: float) -> float:
    """`without_edge` of one score that is not NaN."""
    direction = (score > 0) - (score < 0)
    return min(max(score, -threshold), threshold) if direction * expected < 2 * cost else score


def without_edge(scores: Floats, expected: Floats, *, threshold: float, cost: float) -> Floats:
    """The scores, drawn in to +-`threshold` where the expected return does not pay for going in and out again.

    No position is entered there, and one that is held may be kept. What is expected must pay in the score's direction:
    a score may be negative because the expected return is small, not because it is negative. `scores` and `expected`
    are (n,), `cost` is of a change of position by one unit, as a fraction.
    """
    drawn_in = np.clip(scores, -threshold, threshold)
    return np.where(np.sign(scores) * expected < 2 * cost, drawn_in, scores)


def _latest(events: Flags) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The last bar so far at which the event happened, -1 where it has not yet."""
    return np.maximum.accumulate(np.where(events, np.arange(len(events), dtype=np.int32), np.int32(-1)))
