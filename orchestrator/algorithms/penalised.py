"""Least squares with an elastic-net penalty, for many penalties on one set of rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.core.arrays import Floats, Integers

APPROACH = 50
"""Steps of gradient descent, from where on the equations take over."""
EXCHANGES = 40
"""Exchanges of blocks after which a penalty's coefficients are looked for one by one."""
STEPS = 1_000
"""Changes of the active set after which a solution counts as not found."""
SLACK = 1e-9
"""How far a solution may miss the optimality conditions, in units of a correlation."""
FLOOR = 1e-12
"""The least L2 part: with none at all, features that repeat each other would have no one solution."""
NUMBERS = 4_000_000
"""In the matrices that are solved at once."""


class Penalty(NamedTuple):
    """alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|_2^2), added to half the mean squared error."""

    alpha: float
    l1_ratio: float


def solve(gram: Floats, covariance: Floats, penalties: Sequence[Penalty]) -> tuple[Floats, tuple[int, ...]]:
    """Coefficients under each penalty (the elastic net of Zou and Hastie, 2005).

    A solution is known by which coefficients are positive, negative and 0: linear equations then give their values. All
    penalties are solved side by side: some steps of gradient descent guess the signs, then each exchanges whatever
    violates its optimality conditions until nothing does (block pivoting: Kim and Park, 2010), mostly at once. So a
    solution is exact, whatever is solved beside it and however alike the features are: descent alone crawls where
    features repeat each other, and at its usual tolerance would stop before it has looked at a response of which 0.0004
    can be explained. Without an L1 part the solution is ridge regression's (Hoerl and Kennard, 1970).

    Args:
        gram: (f, f) X'X / n, X having centred columns.
        covariance: (f,) X'y / n, y being centred.
        penalties: alpha above 0, l1_ratio from 0 to 1, in any order, repeats allowed.

    Returns:
        (n_penalties, f) coefficients, and the positions of the penalties for which none were found: there they are NaN.
    """
    coefficients = np.full((len(penalties), len(covariance)), np.nan)
    if not (np.isfinite(gram).all() and np.isfinite(covariance).all()):
        return coefficients, tuple(range(len(penalties)))
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    alpha, l1_ratio = np.array(penalties, dtype=np.float64).reshape(-1, 2).T
    l1, l2 = (alpha * l1_ratio)[:, None], np.maximum(alpha * (1.0 - l1_ratio), FLOOR)[:, None]
    ridge = np.flatnonzero(l1 == 0.0)
    coefficients[ridge] = (vectors.T @ covariance / (values + l2[ridge])) @ vectors.T
    sparse = np.flatnonzero(l1)
    most = max(1, NUMBERS // max(1, gram.size))
    for begin in range(0, len(sparse), most):
        rows = sparse[begin : begin + most]
        near = _approach(gram, covariance, l1[rows], l2[rows], values.max(initial=0.0))
        coefficients[rows] = _exchange(gram, covariance, l1[rows], l2[rows], np.sign(near))
        for row, start in zip(rows, near, strict=True):
            if np.isnan(coefficients[row]).any():
                hessian = gram + l2[row] * np.eye(len(gram))
                coefficients[row] = _step(hessian, covariance, l1[row].item(), start)
    return coefficients, tuple(np.flatnonzero(np.isnan(coefficients).any(axis=1)).tolist())


def _approach(gram: Floats, covariance: Floats, l1: Floats, l2: Floats, steepest: float) -> Floats:
    """(k, f) points near the minima under k penalties (accelerated proximal gradients: Beck and Teboulle, 2009).

    Args:
        gram: (f, f).
        covariance: (f,).
        l1: (k, 1).
        l2: (k, 1).
        steepest: the largest eigenvalue of the Gram matrix.
    """
    stride, momentum = 1.0 / (steepest + l2), 1.0
    w = ahead = np.zeros((len(l1), len(covariance)))
    for _ in range(APPROACH):
        target = ahead + stride * (covariance - ahead @ gram - l2 * ahead)
        reached = np.sign(target) * np.maximum(np.abs(target) - stride * l1, 0.0)
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = reached + (momentum - 1.0) / following * (reached - w)
        w, momentum = reached, following
    return w


def _exchange(gram: Floats, covariance: Floats, l1: Floats, l2: Floats, signs: Floats) -> Floats:
    """(k, f) minima under k penalties, from the signs of points near them; NaN where exchanging does not settle.

    All that is violated is exchanged, or where that has not lowered the number of violations, the graver half of it.
    """
    found = np.full(signs.shape, np.nan)
    left: Integers = np.arange(len(signs))
    fewest = np.full(len(signs), len(covariance) + 1)
    for _ in range(EXCHANGES):
        if not left.size:
            break
        active = signs != 0.0
        hessian = np.where(active[:, :, None] & active[:, None, :], gram, 0.0)
        np.einsum("kff->kf", hessian)[...] += np.where(active, l2[left], 1.0)
        w = np.linalg.solve(hessian, np.where(active, covariance - l1[left] * signs, 0.0)[:, :, None])[:, :, 0]
        slope = covariance - w @ gram - l2[left] * w
        beyond = np.abs(slope) - l1[left]
        entering = np.where(beyond > SLACK, np.sign(slope), 0.0)
        following = np.where(active, np.where(w * signs < 0.0, 0.0, signs), entering)
        violated = following != signs
        count = violated.sum(axis=1)
        going = count > 0
        exact = (np.abs(slope - l1[left] * signs) <= SLACK) | ~active
        done = ~going & exact.all(axis=1)
        found[left[done]] = w[done]
        gravity = np.where(violated, np.where(active, np.abs(w), beyond), 0.0)
        grave = violated & (2.0 * gravity >= gravity.max(axis=1, keepdims=True))
        signs = np.where(np.where((count < fewest)[:, None], violated, grave), following, signs)[going]
        left, fewest = left[going], np.minimum(count, fewest)[going]
    return found


def _step(hessian: Floats, covariance: Floats, l1: float, start: Floats) -> Floats:
    """(f,) the minimum of w' hessian w / 2 - covariance' w + l1 |w|_1 by active sets, from a start; NaN: not found.

    Slower than exchanging blocks, but each step descends. With the signs of w given, the minimum solves linear
    equations. A coefficient that changes its sign on the way there leaves the active set at 0; the one whose slope
    exceeds l1 most enters it (Lee, Battle, Raina and Ng, 2007).
    """
    w, signs = start.copy(), np.sign(start)
    missing = np.full_like(covariance, np.nan)
    for _ in range(STEPS):
        active = np.flatnonzero(signs)
        goal = np.zeros_like(w)
        goal[active] = np.linalg.solve(hessian[np.ix_(active, active)], (covariance - l1 * signs)[active])
        crossing = np.flatnonzero(goal * signs < 0.0)
        if crossing.size:
            shares = w[crossing] / (w[crossing] - goal[crossing])
            first = crossing[np.argmin(shares)]
            w += shares.min() * (goal - w)
            w[first] = signs[first] = 0.0
            continue
        w = goal
        slope = covariance - hessian @ w
        excess = np.where(signs == 0.0, np.abs(slope) - l1, np.abs(slope - l1 * signs))
        worst = int(np.argmax(excess))
        if excess[worst] <= SLACK:
            return w
        if signs[worst]:
            return missing
        signs[worst] = np.sign(slope[worst])
    return missing
