"""Bands: what chance leaves room for, of figures that a few sessions show."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import moments
from schemas.experiments import GateVerdict


@dataclass(frozen=True)
class Band:
    """A figure, and the least and the largest that it may be by chance."""

    figure: float
    low: float
    high: float


def long_run(values: Floats) -> float:
    """Variance of the sum of values (n,) over n: their own, or with their covariances where these add to it.

    Newey and West (1987), with the lags of their 1994 rule of thumb. Covariances that take away from it are not
    trusted: few values show them by chance.
    """
    centred = values - values.mean()
    count = len(values)
    lags = min(count - 1, int(4 * (count / 100) ** (2 / 9)))
    own = float(centred @ centred) / (count - 1)
    covariances = [float(centred[lag:] @ centred[:-lag]) / (count - 1) for lag in range(1, lags + 1)]
    beside = sum((1 - lag / (lags + 1)) * each for lag, each in enumerate(covariances, 1))
    return own + 2 * max(0.0, beside)


def out_of_fold_band(
    profit: Floats, verdict: GateVerdict, *, sessions: int, confidence: float, sessions_per_year: float
) -> Band | None:
    """The Sharpe ratio of the last sessions, and the band that out of fold leads one to expect; both annual.

    What is expected is the ratio out of fold less what the best of so many trials shows by luck, and at least 0: the
    best of many was better out of fold than it is. The band is as wide as both ratios are uncertain.

    Args:
        profit: (n,) by session, after costs, oldest first.
        verdict: the gate's on the version.
        sessions: the last ones that count.
        confidence: that in a year, looked at after every session, one that is as good as expected stays above `low`.
        sessions_per_year: of the calendar.

    Returns:
        None where there are fewer sessions, no variance, or nothing is known out of fold.
    """
    recent = profit[-sessions:]
    observed = moments(recent) if len(recent) >= sessions else None
    if observed is None or verdict.sharpe_ratio is None or verdict.sessions < 2:
        return None
    annual = math.sqrt(sessions_per_year)
    before = verdict.sharpe_ratio / annual
    expected = max(0.0, before - (verdict.benchmark_sharpe or 0.0))
    spread = max(0.0, 1 - observed.skew * observed.sharpe + (observed.kurtosis - 1) / 4 * observed.sharpe**2)
    spread *= long_run(recent) / float(np.var(recent, ddof=1))
    error = math.sqrt(spread / (sessions - 1) + (1 + before**2 / 2) / (verdict.sessions - 1))
    reach = error * deviations(confidence, sessions_per_year / sessions)
    return Band(observed.sharpe * annual, (expected - reach) * annual, (expected + reach) * annual)


def deviations(confidence: float, windows: float) -> float:
    """Deviations that a moving mean stays above with this confidence, while its window moves on by so many lengths.

    Its correlation falls in proportion to the way that the window has gone, so that it goes below -u once or more with
    a chance near (1 + windows u^2) Phi(-u) (Pickands, 1969).
    """
    allowed = 1.0 - confidence
    found: float = brentq(lambda u: (1 + windows * u**2) * ndtr(-u) - allowed, 1.5, 40.0)
    return found


def hit_band(hits: int, moved: int, confidence: float = 0.95) -> Band | None:
    """The share of hits, and Wilson's interval (1927) for the chance of one; None where nothing was held that moved."""
    if moved == 0:
        return None
    share, z = hits / moved, float(ndtri((1 + confidence) / 2))
    scale = 1 + z**2 / moved
    middle = (share + z**2 / (2 * moved)) / scale
    reach = z * math.sqrt(share * (1 - share) / moved + z**2 / (4 * moved**2)) / scale
    return Band(share, middle - reach, middle + reach)
