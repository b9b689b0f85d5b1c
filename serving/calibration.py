"""Calibration: what members' predictions, and their vote, were worth out of fold. Frozen with each version."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from orchestrator.core.arrays import Floats
from orchestrator.core.strength import calibrated, check_ascending, share_below, signed, signed_rank

LEAST_CONFIDENCE = 0.01
"""A member that was always wrong still has a voice: without one, a vote of such members would divide by zero."""
MOST_KNOTS = 20
ROWS_A_KNOT = 25


@dataclass(frozen=True, eq=False)
class Reliability:
    """Chance of the right sign by strength: `strength` (k,) ascending and `chance` (k,), linear in between."""

    strength: Floats
    chance: Floats

    def at(self, strength: Floats) -> Floats:
        """The chance at the magnitude of each strength, constant beyond the knots; NaN stays NaN."""
        return np.interp(np.abs(strength), self.strength, self.chance)


COIN = Reliability(strength=np.zeros(1), chance=np.full(1, 0.5))
"""Nothing is known."""


def fit_reliability(strength: Floats, target: Floats) -> Reliability | None:
    """Learn the chance of the right sign from what came true.

    Isotonic regression (Zadrozny and Elkan, 2002) over bins of equally many rows, so that a few rows at an end cannot
    claim certainty. A target of exactly 0 counts against the prediction, since only a move can pay.

    Args:
        strength: (n,) signed; rows of strength 0 or NaN had no opinion and are left out.
        target: (n,) what came true; rows of NaN are left out.

    Returns:
        The curve, its chances within [LEAST_CONFIDENCE, 1]; None: no row is left.
    """
    known = np.isfinite(strength) & np.isfinite(target) & (strength != 0)
    magnitude = np.abs(strength[known])
    if not len(magnitude):
        return None
    order = np.argsort(magnitude, kind="stable")
    magnitude, right = magnitude[order], (strength[known] * target[known] > 0)[order].astype(np.float64)
    bins = np.clip(len(magnitude) // ROWS_A_KNOT, 1, MOST_KNOTS)
    starts = np.linspace(0, len(magnitude), bins, endpoint=False).astype(np.int64)
    # Equal strengths share a bin: their order says nothing.
    starts = np.unique(np.searchsorted(magnitude, magnitude[starts]))
    sizes = np.diff(starts, append=len(magnitude)).astype(np.float64)
    centre = np.add.reduceat(magnitude, starts) / sizes
    share = isotonic_regression(np.add.reduceat(right, starts) / sizes, weights=sizes).x
    return Reliability(strength=centre, chance=np.clip(share, LEAST_CONFIDENCE, 1.0))


@dataclass(frozen=True, eq=False)
class MemberCalibration:
    """One member's record on one ticker: `reference` (k,) its absolute predicted returns out of fold, ascending.

    Raises:
        ValueError: `reference` is empty or does not ascend.
    """

    reference: Floats
    reliability: Reliability

    def __post_init__(self) -> None:
        check_ascending(self.reference)


def calibrate_member(prediction: Floats, target: Floats) -> MemberCalibration:
    """Calibrate a member on its out-of-fold record.

    Args:
        prediction: (n,) at least one of them finite.
        target: (n,) NaN where unknown.
    """
    reference = np.sort(np.abs(prediction[np.isfinite(prediction)]))
    reliability = fit_reliability(signed_rank(prediction, reference), target)
    return MemberCalibration(reference, reliability or COIN)


@dataclass(frozen=True, eq=False)
class TickerCalibration:
    """The calibration of a vote on one ticker.

    `members` are in the order of the votes' columns. `reference` (k,) holds the votes' weighted means out of fold,
    ascending; None: a mean is the score itself. `reliability` is by the score's magnitude; None: not enough is known.
    """

    members: tuple[MemberCalibration, ...]
    reference: Floats | None = None
    reliability: Reliability | None = None

    def strengths(self, prediction: Floats) -> Floats:
        """Strengths (n, m) of predictions (n, m): each one's signed rank among the member's own, in [-1, 1]."""
        magnitude, share = np.abs(prediction), np.empty(prediction.shape)
        for place, member in enumerate(self.members):
            share[:, place] = share_below(magnitude[:, place], member.reference)
        return signed(prediction, share)

    def confidences(self, strength: Floats) -> Floats:
        """Confidences (n, m) of strengths (n, m): the chance of the right sign, in (0, 1]."""
        confidences = np.empty(strength.shape)
        for place, member in enumerate(self.members):
            confidences[:, place] = member.reliability.at(strength[:, place])
        return confidences

    def score(self, mean: Floats) -> Floats:
        """Score of each weighted mean: 2 F(mean) - 1, F their distribution out of fold."""
        return mean if self.reference is None else calibrated(mean, self.reference)

    def chance(self, score: Floats) -> Floats:
        """Chance that the direction of each score is right; NaN where that is not known, or there is no direction."""
        if self.reliability is None:
            return np.full(len(score), np.nan)
        return np.where(score == 0, np.nan, self.reliability.at(score))

    @property
    def calibration_id(self) -> str:
        """Digest of every figure in it."""
        curves = [member.reliability for member in self.members] + [self.reliability or COIN]
        arrays = [member.reference for member in self.members]
        arrays += [np.empty(0) if self.reference is None else self.reference]
        arrays += [figures for curve in curves for figures in (curve.strength, curve.chance)]
        return _digest(arrays)


def _digest(arrays: Sequence[Floats]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(len(array).to_bytes(8, "little"))
        digest.update(array.astype("<f8").tobytes())
    return digest.hexdigest()[:16]
