"""Survivors: which trials become members of an ensemble."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.core.arrays import Floats
from schemas.base import Reason

CORRELATION_LIMIT = 0.99
"""Out-of-fold predictions that correlate above this are one opinion: a second vote for it would only add weight."""
_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Contender:
    """A trial that is over. `prediction` (n_oof,) is of the same bars for every contender of a ticker.

    `metric` is None where it is not defined; `prediction` is None where the trial failed.
    """

    trial: str
    ticker: str
    fingerprint: str
    metric: float | None
    eligible: bool
    prediction: Floats | None


@dataclass(frozen=True, eq=False)
class Kept:
    """A survivor and its rank among those of its ticker, from 1."""

    contender: Contender
    rank: int


@dataclass(frozen=True)
class Selection:
    """Who is in, by ticker and rank, and why others are not, in a few reasons for each ticker."""

    kept: tuple[Kept, ...]
    passed_over: tuple[Reason, ...]


def select(
    contenders: Iterable[Contender],
    *,
    top_n: int,
    mode: Literal["max", "min"] = "max",
    correlation_limit: float = CORRELATION_LIMIT,
) -> Selection:
    """The best `top_n` trials of each ticker, without near-clones of a better one.

    Ties are broken by fingerprint, so the order in which trials ended does not count. Trials that failed (`failed`),
    have no metric (`no_score`) or are not eligible (`not_eligible`) are never kept; `near_clone` is the fourth reason.
    """
    by_ticker: dict[str, list[Contender]] = defaultdict(list)
    for contender in contenders:
        by_ticker[contender.ticker].append(contender)
    kept: list[Kept] = []
    passed_over: list[Reason] = []
    for ticker in sorted(by_ticker):
        chosen, reasons = _best(ticker, by_ticker[ticker], top_n, mode, correlation_limit)
        kept += [Kept(contender, rank) for rank, contender in enumerate(chosen, start=1)]
        passed_over += reasons
    return Selection(tuple(kept), tuple(passed_over))


def _best(
    ticker: str, contenders: Sequence[Contender], top_n: int, mode: Literal["max", "min"], limit: float
) -> tuple[list[Contender], list[Reason]]:
    left_out: dict[str, list[Contender]] = {"failed": [], "no_score": [], "not_eligible": []}
    ranked: list[tuple[float, str, str, Contender, Floats]] = []
    for contender in contenders:
        metric = contender.metric
        if contender.prediction is None:
            left_out["failed"].append(contender)
        elif not contender.eligible:
            left_out["not_eligible"].append(contender)
        elif metric is None or not math.isfinite(metric):
            left_out["no_score"].append(contender)
        else:
            order = -metric if mode == "max" else metric
            ranked.append((order, contender.fingerprint, contender.trial, contender, contender.prediction))
    chosen: list[tuple[Contender, Floats]] = []
    clones: dict[str, list[Contender]] = {}
    for _, _, _, contender, prediction in sorted(ranked, key=lambda entry: entry[:3]):
        if len(chosen) == top_n:
            break
        direction = _direction(prediction)
        original = next((other for other, known in chosen if float(known @ direction) > limit), None)
        if original is None:
            chosen.append((contender, direction))
        else:
            clones.setdefault(original.trial, []).append(contender)
    sentences = {
        "failed": "failed",
        "no_score": "have no score: their metric is not defined, for want of trades or variance",
        "not_eligible": "are not eligible, whatever their score",
    }
    reasons = [
        Reason(code=code, where=ticker, message=_sentence(those, sentences[code]))
        for code, those in left_out.items()
        if those
    ]
    reasons += [
        Reason(code="near_clone", where=ticker, message=_sentence(those, f"correlate with {trial} above {limit:g}"))
        for trial, those in clones.items()
    ]
    return [contender for contender, _ in chosen], reasons


def _direction(prediction: Floats) -> Floats:
    """The prediction about its mean, of length 1: the product of two is their correlation. NaN counts as the mean."""
    centred = prediction - np.nanmean(prediction) if np.isfinite(prediction).any() else np.zeros_like(prediction)
    centred = np.nan_to_num(centred)
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0.0 else centred


def _sentence(those: Sequence[Contender], what: str) -> str:
    names = sorted(contender.trial for contender in those)
    listed = ", ".join(names[:_EXAMPLES])
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return f"{len(names)} trials {what}: {listed}{more}" if len(names) > 1 else f"1 trial: {listed}: {what}"
