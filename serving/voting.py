"""Voting: many members' opinions become one. Rows are ticks, columns members, whose order means nothing."""

import numpy as np

from orchestrator.core.arrays import Floats, Positions

BPS = 10_000


def soft(strength: Floats, confidence: Floats, weight: Floats) -> Floats:
    """The mean of the strengths, weighted by confidence: sum(w c s) / sum(w c), in [-1, 1].

    Args:
        strength: (n, m) in [-1, 1]; a NaN makes its row NaN.
        confidence: (n, m) in (0, 1].
        weight: (m,) above 0.
    """
    return _weighted_mean(strength, confidence * weight)


def expected_return(prediction: Floats, confidence: Floats, weight: Floats) -> Floats:
    """The mean of the predicted returns (n, m), weighted by confidence (n, m) and weight (m,); (n,)."""
    return _weighted_mean(prediction, confidence * weight)


def member_votes(prediction: Floats, min_edge_bps: float) -> Positions:
    """What each member says, (n, m): 1 BUY, -1 SELL, 0 HOLD where the predicted return is within `min_edge_bps`."""
    return np.where(np.abs(prediction) > min_edge_bps / BPS, np.sign(prediction), 0.0).astype(np.int8)


def majority(votes: Positions, weight: Floats) -> tuple[Floats, Floats]:
    """Most votes win; a tie for the most is HOLD.

    The score is the winner's share of the votes, negative for SELL, and 0 for HOLD. The position function that serves
    soft votes serves it too, with both thresholds 0: BUY and SELL decide, and HOLD leaves the position as it is.

    Args:
        votes: (n, m) of 1, -1 and 0.
        weight: (m,) above 0; all alike, each member has one vote.

    Returns:
        The score (n,) in [-1, 1] and the confidence (n,) in [0, 1]: the share of those who said what was decided.
    """
    total = weight.sum()
    buy, sell, hold = ((votes == side) @ weight / total for side in (1, -1, 0))
    bought, sold = buy > np.maximum(sell, hold), sell > np.maximum(buy, hold)
    score = np.where(bought, buy, np.where(sold, -sell, 0.0))
    return score, np.where(bought, buy, np.where(sold, sell, hold))


def _weighted_mean(values: Floats, weight: Floats) -> Floats:
    # Column after column: the bits of a row's mean must not depend on which rows share its batch.
    above, below = np.zeros(len(values)), np.zeros(len(values))
    for value, share in zip(values.T, weight.T, strict=True):
        above += share * value
        below += share
    return above / below
