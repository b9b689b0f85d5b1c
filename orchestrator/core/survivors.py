"""Survivors: which trials become members of an ensemble."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.arrays import Floats
from orchestrator.core.diversity import direction, effective_votes
from schemas.base import Reason, Scalar

CORRELATION_LIMIT = 0.99
"""Out-of-fold predictions that correlate above this are one opinion: a second vote for it would only add weight."""
_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Contender:
    """A trial that is over, among those of the same `tickers`: one, or all of a multi-ticker search.

    `predictions` are beside `tickers`, each (n_oof,) and of the same bars for every contender; None where the trial
    failed. `metric` is None where it is not defined.
    """

    trial: str
    tickers: tuple[str, ...]
    configuration: Mapping[str, Scalar]
    fingerprint: str
    metric: float | None
    eligible: bool
    predictions: tuple[Floats, ...] | None


@dataclass(frozen=True, eq=False)
class Kept:
    """A survivor and its rank among those of its tickers, from 1."""

    contender: Contender
    rank: int


@dataclass(frozen=True)
class Selection:
    """Who is in, by tickers and rank, and why others are not, in a few reasons for each of the tickers."""

    kept: tuple[Kept, ...]
    passed_over: tuple[Reason, ...]
    effective_votes: Mapping[str, float]
    """By ticker: how many independent votes those that are kept are worth."""


def select(
    contenders: Iterable[Contender],
    *,
    top_n: int,
    mode: Literal["max", "min"] = "max",
    correlation_limit: float = CORRELATION_LIMIT,
) -> Selection:
    """The best `top_n` trials of the same tickers, without near-clones of a better one.

    A near-clone correlates with it above the limit on every ticker. Ties are broken by fingerprint, so the order in
    which trials ended does not count. Trials that failed (`failed`), have no metric (`no_score`) or are not eligible
    (`not_eligible`) are never kept; `near_clone` is the fourth reason.
    """
    populations: dict[tuple[str, ...], list[Contender]] = defaultdict(list)
    for contender in contenders:
        populations[contender.tickers].append(contender)
    kept: list[Kept] = []
    passed_over: list[Reason] = []
    votes: dict[str, list[Floats]] = defaultdict(list)
    for tickers in sorted(populations):
        chosen, reasons = _best(populations[tickers], top_n, mode, correlation_limit)
        kept += [Kept(contender, rank) for rank, contender in enumerate(chosen, start=1)]
        passed_over += (Reason(code=code, where=_listed(tickers), message=message) for code, message in reasons)
        for contender in chosen:
            for ticker, prediction in zip(tickers, contender.predictions or (), strict=True):
                votes[ticker].append(prediction)
    return Selection(tuple(kept), tuple(passed_over), {ticker: effective_votes(each) for ticker, each in votes.items()})


def _best(
    contenders: Sequence[Contender], top_n: int, mode: Literal["max", "min"], limit: float
) -> tuple[list[Contender], list[tuple[str, str]]]:
    """Who is kept, best first, and why others are not: codes and sentences."""
    left_out: dict[str, list[Contender]] = {"failed": [], "no_score": [], "not_eligible": []}
    ranked: list[tuple[float, str, str, Contender, tuple[Floats, ...]]] = []
    for contender in contenders:
        metric = contender.metric
        if contender.predictions is None:
            left_out["failed"].append(contender)
        elif not contender.eligible:
            left_out["not_eligible"].append(contender)
        elif metric is None or not math.isfinite(metric):
            left_out["no_score"].append(contender)
        else:
            order = -metric if mode == "max" else metric
            ranked.append((order, contender.fingerprint, contender.trial, contender, contender.predictions))
    chosen: list[tuple[Contender, list[Floats]]] = []
    clones: dict[str, list[Contender]] = {}
    for _, _, _, contender, predictions in sorted(ranked, key=lambda entry: entry[:3]):
        if len(chosen) == top_n:
            break
        directions = [direction(each) for each in predictions]
        original = next((other for other, known in chosen if _alike(known, directions, limit)), None)
        if original is None:
            chosen.append((contender, directions))
        else:
            clones.setdefault(original.trial, []).append(contender)
    sentences = {
        "failed": "failed",
        "no_score": "have no score: their metric is not defined, for want of trades or variance",
        "not_eligible": "are not eligible, whatever their score",
    }
    reasons = [(code, _sentence(those, sentences[code])) for code, those in left_out.items() if those]
    reasons += [
        ("near_clone", _sentence(those, f"correlate with {trial} above {limit:g}")) for trial, those in clones.items()
    ]
    return [contender for contender, _ in chosen], reasons


def _alike(one: Sequence[Floats], other: Sequence[Floats], limit: float) -> bool:
    return all(float(mine @ theirs) > limit for mine, theirs in zip(one, other, strict=True))


def _sentence(those: Sequence[Contender], what: str) -> str:
    listed = _listed(sorted(contender.trial for contender in those))
    return f"{len(those)} trials {what}: {listed}" if len(those) > 1 else f"1 trial: {listed}: {what}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
