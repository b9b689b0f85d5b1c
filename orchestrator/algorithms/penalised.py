"""Least squares with an elastic-net penalty, for many penalties on one set of rows."""

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from orchestrator.core.arrays import Floats

GAP = 1e-8
"""Duality gap, as a share of the response's sum of squares, at which coordinate descent hands over."""
PASSES = 2_000
"""Passes over the features after which it hands over all the same."""
STEPS = 1_000
"""Changes of the active set after which a solution counts as not found."""
SLACK = 1e-9
"""How far a solution may miss the optimality conditions, in units of a correlation."""
FLOOR = 1e-12
"""The least L2 part: with none at all, features that repeat each other would have no one solution."""


class Penalty(NamedTuple):
    """alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|_2^2), added to half the mean squared error."""

    alpha: float
    l1_ratio: float


def solve(design: Floats, response: Floats, penalties: Sequence[Penalty]) -> tuple[Floats, tuple[int, ...]]:
    """Coefficients under each penalty (the elastic net of Zou and Hastie, 2005).

    One Gram matrix serves all. Penalties of one `l1_ratio` are a path from the strongest on, along which coordinate
    descent (Friedman, Hastie and Tibshirani, 2010) finds which coefficients are not 0; linear equations then give their
    values. So a solution is exact, whatever path it lies on and however alike the features are: descent alone crawls
    where features repeat each other, and at its usual tolerance would stop before it has looked at a response of which
    0.0004 can be explained. Without an L1 part the solution is ridge regression's (Hoerl and Kennard, 1970).

    Args:
        design: (n, f), centred columns.
        response: (n,), centred.
        penalties: alpha above 0, l1_ratio from 0 to 1, in any order, repeats allowed.

    Returns:
        (n_penalties, f) coefficients, and the positions of the penalties for which none were found.
    """
    rows, width = design.shape
    design = np.asfortranarray(design)
    gram, covariance = np.ascontiguousarray(design.T @ design), design.T @ response
    found: dict[Penalty, Floats | None] = {}
    for l1_ratio, members in groupby(
        sorted(set(penalties), key=lambda p: (p.l1_ratio, -p.alpha)), lambda p: p.l1_ratio
    ):
        path = list(members)
        if l1_ratio == 0.0:
            found |= zip(path, _ridge(gram, covariance, [penalty.alpha * rows for penalty in path]), strict=True)
            continue
        starts = _descend(design, response, gram, covariance, path)
        for penalty, start in zip(path, starts, strict=True):
            l1, l2 = penalty.alpha * l1_ratio, max(penalty.alpha * (1.0 - l1_ratio), FLOOR)
            found[penalty] = _finish(gram + l2 * rows * np.eye(width), covariance, l1 * rows, start, SLACK * rows)
    solutions = [found[penalty] for penalty in penalties]
    coefficients = np.full((len(penalties), width), np.nan)
    for row, solution in enumerate(solutions):
        if solution is not None:
            coefficients[row] = solution
    return coefficients, tuple(row for row, solution in enumerate(solutions) if solution is None)


def _ridge(gram: Floats, covariance: Floats, weights: Sequence[float]) -> Floats:
    """(n_weights, f) solutions of (gram + weight I) w = covariance."""
    values, vectors = np.linalg.eigh(gram)
    shrunk = vectors.T @ covariance / (np.maximum(values, 0.0) + np.array(weights)[:, None])
    return np.asarray(shrunk @ vectors.T)


def _descend(design: Floats, response: Floats, gram: Floats, covariance: Floats, path: Sequence[Penalty]) -> Floats:
    """(n_path, f) solutions of penalties of one l1_ratio, strongest first, near enough to finish from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, coefficients, _ = enet_path(
            design,
            response,
            l1_ratio=path[0].l1_ratio,
            alphas=np.array([penalty.alpha for penalty in path]),
            precompute=gram,
            Xy=covariance,
            check_input=False,
            tol=GAP,
            max_iter=PASSES,
        )
    return np.asarray(coefficients.T)


def _finish(hessian: Floats, covariance: Floats, l1: float, start: Floats, slack: float) -> Floats | None:
    """The minimum of w' hessian w / 2 - covariance' w + l1 |w|_1 by active sets, from a point near it; None: not found.

    With the signs of w given, the minimum solves linear equations. A coefficient that changes its sign on the way there
    leaves the active set at 0; the one whose slope exceeds l1 most enters it (Lee, Battle, Raina and Ng, 2007).
    """
    w, signs = start.copy(), np.sign(start)
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
        if excess[worst] <= slack:
            return w
        if signs[worst]:
            return None
        signs[worst] = np.sign(slope[worst])
    return None
