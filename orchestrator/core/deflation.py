"""How likely a Sharpe ratio is skill, given how long it was observed and how many were tried.

Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio". All ratios are per session, not annualised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from orchestrator.core.arrays import Flags, Floats

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

    With `expected_maximum` as the benchmark it is the deflated Sharpe ratio.

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


@dataclass(frozen=True, eq=False)
class Cohort:
    """Trials that were scored on the same sessions: `profit` (m, n_sessions), and the ticker of each row."""

    profit: Floats
    tickers: Sequence[str]


def trial_variance(sharpes: Sequence[float], cohorts: Sequence[Cohort]) -> float:
    """V of the deflation: the variance of the trials' Sharpe ratios, capped by what trials without skill would show.

    The Sharpe ratios of two trials without skill over T sessions, whose profits correlate by r, have a sample variance
    of (1 - r) / (T - 1) on average; the cap is the mean of that over pairs of trials. Without it, configurations that
    merely bleed costs would count as luck of the others. Pairs of one cohort count, whatever their tickers are. Pairs
    of different cohorts and tickers count as uncorrelated; those of one ticker do not count, being mostly the same
    configurations on almost the same sessions.

    Args:
        sharpes: every trial's Sharpe ratio per session, undefined ones left out.
        cohorts: every trial's profit; trials without variance do not count.
    """
    if len(sharpes) < 2:
        return 0.0
    observed = float(np.var(np.asarray(sharpes, dtype=np.float64), ddof=1))
    tickers = sorted({ticker for cohort in cohorts for ticker in cohort.tickers})
    sizes = np.zeros((len(cohorts), len(tickers)))
    inverse = np.zeros(len(cohorts))
    pairs = total = 0.0
    for place, cohort in enumerate(cohorts):
        directions, varies = _directions(cohort.profit)
        if not varies.any():
            continue
        known = [ticker for ticker, counts in zip(cohort.tickers, varies, strict=True) if counts]
        np.add.at(sizes[place], np.searchsorted(tickers, known), 1.0)
        inverse[place] = 1.0 / (cohort.profit.shape[1] - 1)
        # With rows of length 1, the sum of all correlations is the squared length of the sum of rows.
        summed, count = directions.sum(axis=0), len(directions)
        pairs += count * (count - 1) / 2
        total += (count**2 - float(summed @ summed)) / 2 * inverse[place]
    apart = np.outer(sizes.sum(axis=1), sizes.sum(axis=1)) - sizes @ sizes.T
    np.fill_diagonal(apart, 0.0)
    pairs += float(apart.sum()) / 2
    total += float((apart @ inverse).sum()) / 2
    return min(observed, max(0.0, total / pairs)) if pairs else observed


def _directions(profit: Floats) -> tuple[Floats, Flags]:
    """The rows of (m, T) that vary, about their means and of length 1; and which those are, (m,)."""
    values = np.asarray(profit, dtype=np.float64)
    if values.shape[1] < 2:
        return np.empty((0, values.shape[1])), np.zeros(len(values), dtype=np.bool_)
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    varies = length > NO_VARIANCE * np.max(np.abs(values), axis=1) * math.sqrt(values.shape[1])
    return centred[varies] / length[varies, np.newaxis], varies
