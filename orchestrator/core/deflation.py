"""How likely a Sharpe ratio is skill, given how long it was observed and how many were tried.

Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio". All ratios are per session, not annualised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from orchestrator.core.arrays import Floats

EULER_GAMMA = float(np.euler_gamma)
NO_VARIANCE = 1e-12
"""Deviations below this share of the largest value are rounding, not variance."""


@dataclass(frozen=True)
class Moments:
    """A profit series in four figures: Sharpe ratio per session, sessions, skewness and kurtosis (3 where normal)."""

    sharpe: float
    sessions: int
    skew: float
    kurtosis: float


def moments(profit: Floats) -> Moments | None:
    """The moments of profit by session (n,); None where it has no variance or fewer than two sessions.

    The Sharpe ratio uses the sample deviation, skewness and kurtosis are population moments.
    """
    if len(profit) < 2 or not np.isfinite(profit).all():
        return None
    largest = float(np.max(np.abs(profit)))
    if largest == 0.0:
        return None
    scaled = np.asarray(profit, dtype=np.float64) / largest
    mean = float(np.mean(scaled))
    centred = scaled - mean
    variance = float(np.mean(centred**2))
    if math.sqrt(variance) <= NO_VARIANCE:
        return None
    count = len(profit)
    return Moments(
        sharpe=mean / math.sqrt(variance * count / (count - 1)),
        sessions=count,
        skew=float(np.mean(centred**3)) / variance**1.5,
        kurtosis=float(np.mean(centred**4)) / variance**2,
    )


def psr(observed: Moments, benchmark: float = 0.0) -> float | None:
    """Probabilistic Sharpe ratio: the probability that the true Sharpe ratio is above `benchmark`.

    Phi[(SR - benchmark) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2)]; None where the root is 0.
    """
    ratio = observed.sharpe
    spread = 1.0 - observed.skew * ratio + (observed.kurtosis - 1.0) / 4.0 * ratio**2
    if spread <= NO_VARIANCE:
        return None
    return float(ndtr((ratio - benchmark) * math.sqrt(observed.sessions - 1) / math.sqrt(spread)))


def expected_maximum(trials: int, variance: float) -> float:
    """The Sharpe ratio that the best of `trials` without skill is expected to show, their ratios having this variance.

    sqrt(V) [(1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))], g the Euler-Mascheroni constant; 0 for one trial or none.
    """
    if trials <= 1:
        return 0.0
    # Z(1 - p) is -Z(p), which keeps its digits where p is small.
    first, second = -float(ndtri(1.0 / trials)), -float(ndtri(1.0 / (trials * math.e)))
    return math.sqrt(variance) * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second)


def deflated_sharpe(observed: Moments, trials: int, variance: float) -> float | None:
    """The probability that the true Sharpe ratio is above what the best of `trials` without skill would show."""
    return psr(observed, expected_maximum(trials, variance))


def trial_variance(sharpes: Sequence[float], profits: Sequence[Floats]) -> float:
    """V of the deflation: the variance of the trials' Sharpe ratios, capped by what trials without skill would show.

    Trials without skill over T sessions, whose profits correlate by r on average, show a variance of (1 - r) / (T - 1).
    Without the cap, configurations that merely bleed costs would count as luck of the others.

    Args:
        sharpes: every trial's Sharpe ratio per session, undefined ones left out.
        profits: one matrix (n_trials, n_sessions) for each span of sessions that trials were scored on; each counts by
            its number of pairs of trials, and trials without variance do not count.
    """
    if len(sharpes) < 2:
        return 0.0
    observed = float(np.var(np.asarray(sharpes, dtype=np.float64), ddof=1))
    weights, caps = [], []
    for profit in profits:
        correlated = _mean_correlation(profit)
        if correlated is not None:
            correlation, pairs = correlated
            weights.append(pairs)
            caps.append((1.0 - correlation) / (profit.shape[1] - 1))
    return min(observed, max(0.0, float(np.average(caps, weights=weights)))) if caps else observed


def _mean_correlation(profit: Floats) -> tuple[float, float] | None:
    """Mean correlation over the pairs of rows of (m, T), and the number of pairs; None where there is no pair.

    With rows of mean 0 and length 1, the sum of all correlations is the squared length of the sum of rows.
    """
    values = np.asarray(profit, dtype=np.float64)
    if values.shape[0] < 2 or values.shape[1] < 2:
        return None
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    varies = length > NO_VARIANCE * np.max(np.abs(values), axis=1) * math.sqrt(values.shape[1])
    count = int(varies.sum())
    if count < 2:
        return None
    total = (centred[varies] / length[varies, np.newaxis]).sum(axis=0)
    return (float(total @ total) - count) / (count * (count - 1)), count * (count - 1) / 2
