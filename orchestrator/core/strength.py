"""Strength: where a prediction stands among those of the past, so that models of any scale can be compared."""

import numpy as np

from orchestrator.core.arrays import Floats


def signed_rank(predicted: Floats, reference: Floats) -> Floats:
    """Strength in [-1, 1]: the sign of each prediction, times the share of `reference` below its magnitude.

    Ties count half, as in `calibrated`, so that the strengths of a single model lead to the scores of its predictions.

    Args:
        predicted: any shape; NaN stays NaN.
        reference: (k,) ascending magnitudes of past predictions, k at least 1.

    Raises:
        ValueError: `reference` is empty or not ascending.
    """
    check_ascending(reference)
    return signed(predicted, share_below(np.abs(predicted), reference))


def share_below(magnitude: Floats, reference: Floats) -> Floats:
    """The share of an ascending `reference` below each magnitude, ties counted half."""
    ranks = reference.searchsorted(magnitude, side="left") + reference.searchsorted(magnitude, side="right")
    return ranks / (2 * len(reference))


def signed(predicted: Floats, share: Floats) -> Floats:
    """Strengths of predictions whose magnitudes are above these shares of what they are compared with."""
    return np.where(np.isnan(predicted), np.nan, np.sign(predicted) * share)


def calibrated(raw: Floats, reference: Floats) -> Floats:
    """Score in [-1, 1]: 2 F(raw) - 1, F the distribution of `reference`, ties counted half on either side.

    Half ties keep the score antisymmetric: turning the sign of `raw` and `reference` turns the sign of the score.

    Args:
        raw: any shape; NaN stays NaN.
        reference: (k,) ascending raw values of the past, k at least 1.

    Raises:
        ValueError: `reference` is empty or not ascending.
    """
    check_ascending(reference)
    # Looked up in their order: millions of values in no order would miss the processor's cache each time.
    order = np.argsort(raw, axis=None)
    ascending = np.ravel(raw)[order]
    ranks = np.searchsorted(reference, ascending, side="left") + np.searchsorted(reference, ascending, side="right")
    scores = np.empty(np.shape(raw))
    scores.ravel()[order] = np.where(np.isnan(ascending), np.nan, ranks / len(reference) - 1.0)
    return scores


def check_ascending(reference: Floats) -> None:
    """Raise ValueError where nothing can be looked up in a reference: it is empty, or does not ascend."""
    if len(reference) == 0 or not np.all(reference[1:] >= reference[:-1]):
        raise ValueError("the reference must hold at least one value and ascend")
