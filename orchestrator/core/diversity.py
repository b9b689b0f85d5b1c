"""Diversity: how many opinions there are among the votes of an ensemble's members."""

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import NO_VARIANCE


def direction(values: Floats) -> Floats:
    """Values (n,) about their mean, of length 1: the product of two is their correlation. NaN counts as the mean.

    All 0 where nothing varies.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values))
    centred = np.where(np.isfinite(values), values - np.mean(known), 0.0)
    length = float(np.linalg.norm(centred))
    if length <= NO_VARIANCE * float(np.max(np.abs(known))) * math.sqrt(len(known)):
        return np.zeros(len(values))
    return centred / length


def effective_votes(predictions: Sequence[Floats]) -> float:
    """How many independent votes members are worth by their predictions, each (n,), of the same bars.

    The participation ratio of their correlation matrix's eigenvalues, (sum l)^2 / sum l^2 (Bretherton and others, 1999,
    "The Effective Number of Spatial Degrees of Freedom of a Time-Varying Field"): the number of members where none are
    correlated, 1 where each is a multiple of the others. A member that always predicts the same has no opinion and does
    not count; 0 where none has one.
    """
    directions = np.stack([direction(each) for each in predictions]) if predictions else np.zeros((0, 0))
    correlation = directions @ directions.T
    # Of a matrix, the squared eigenvalues sum to the squared entries, the eigenvalues to the diagonal.
    members = float(np.trace(correlation))
    return members**2 / float(np.sum(correlation**2)) if members else 0.0
