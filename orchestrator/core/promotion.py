"""Promotion: whether a challenger earns more than the champion on the same ticks, by more than chance.

The difference of their profits is looked at after so many sessions, and again after as many more. Looks share what may
go wrong as those at a hold-out do: a challenger that is no better is promoted at any of them with a chance of
1 - confidence at most.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy.special import stdtr

from orchestrator.core.arrays import Floats
from orchestrator.core.bands import Band, long_run, out_of_fold_band
from orchestrator.core.deflation import NO_VARIANCE
from orchestrator.core.gate import required_of_look
from orchestrator.core.performance import Account
from schemas.base import Reason
from schemas.experiments import GateVerdict
from schemas.policies import PerformanceRule, PromotionRule

STOPPED = 5
"""Sessions without a bar, after which an instrument is not waited for."""


@dataclass(frozen=True)
class Promote:
    """The challenger is better: at this look."""

    look: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Retire:
    """The challenger is worse, or has not shown that it is better: at this look."""

    look: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Wait:
    """Nothing is decided before so many sessions; `probability` that it is better, by those until now."""

    sessions: int
    probability: float | None


Judgement = Promote | Retire | Wait


def paired(champion: Account, challenger: Account) -> Floats:
    """What the challenger earned beyond the champion, (n_sessions,), in the sessions that both have settled whole.

    The first session of the two is left out: one of them may have begun in the middle of it.
    """
    if not champion.profit or not challenger.profit:
        return np.empty(0)
    first = max(min(champion.profit), min(challenger.profit))
    end = min((session for account in (champion, challenger) for session in _under_way(account)), default=None)
    return np.array(
        [
            challenger.profit[session] - champion.profit[session]
            for session in sorted(champion.profit.keys() & challenger.profit.keys())
            if session > first and (end is None or session < end)
        ]
    )


def better(difference: Floats) -> float | None:
    """The probability that the mean of differences (n,) is above 0; None where they do not vary.

    By Student's t, the variance of their mean by Newey and West.
    """
    count = len(difference)
    if count < 2 or float(np.std(difference)) <= NO_VARIANCE * float(np.max(np.abs(difference))):
        return None
    scaled = difference / float(np.max(np.abs(difference)))
    return float(stdtr(count - 1, scaled.mean() / math.sqrt(long_run(scaled) / count)))


def judge(difference: Floats, rule: PromotionRule, *, passed: bool) -> Judgement:
    """What is to become of a challenger.

    Only whole numbers of `rule.sessions` are looked at, from the first on: whoever looks late, or once more, finds the
    same.

    Args:
        difference: `paired`, oldest first.
        rule: of the policy.
        passed: the gate has let it through, or nothing asks for that.
    """
    for look in range(1, min(len(difference) // rule.sessions, rule.looks) + 1):
        seen = difference[: look * rule.sessions]
        if found := _looked(seen, look, rule, passed=passed):
            return found
    done = min(len(difference) // rule.sessions, rule.looks - 1)
    return Wait((done + 1) * rule.sessions, better(difference))


def judge_canary(difference: Floats, since: int, rule: PromotionRule) -> Judgement:
    """What is to become of a challenger that is heard on some instruments since the first `since` sessions.

    It was let through already, and only has to be as surely better still: this look promotes nobody else.
    """
    due = since + rule.canary_sessions
    if len(difference) < due:
        return Wait(due, better(difference))
    probability = better(difference[:due])
    look = min(since // rule.sessions, rule.looks)
    told = _told(difference[:due], probability, rule.confidence, f"after {rule.canary_sessions} sessions as a canary")
    if probability is not None and probability >= rule.confidence:
        return Promote(look, (Reason(code="better", message=told),))
    return Retire(look, (Reason(code="not_better", message=told),))


def demotion(
    profit: Sequence[float] | Floats,
    verdict: GateVerdict,
    rule: PerformanceRule,
    sessions_per_year: float,
) -> tuple[Band | None, tuple[Reason, ...]]:
    """Where a promoted version stands in its out-of-fold band, and why it is to be taken back; empty: it stays.

    Args:
        profit: by session, after costs, oldest first.
        verdict: the gate's on it.
        rule: how it is measured.
        sessions_per_year: of the calendar.
    """
    band = out_of_fold_band(
        np.asarray(profit, dtype=np.float64),
        verdict,
        sessions=rule.sessions,
        confidence=rule.confidence,
        sessions_per_year=sessions_per_year,
    )
    if band is None or band.figure >= band.low:
        return band, ()
    message = (
        f"its Sharpe ratio over the last {rule.sessions} sessions is {band.figure:.2f}, below {band.low:.2f}, the end "
        "of its out-of-fold band"
    )
    return band, (Reason(code="below_band", message=message),)


def _under_way(account: Account) -> Iterator[datetime]:
    """By instrument, the first session of which a bar is not settled; one that has stopped is not waited for."""
    sessions = sorted(account.profit)
    for line in account.lines.values():
        if line.bars and len(sessions) - bisect_right(sessions, line.bars[-1].session) < STOPPED:
            yield line.bars[0].session


def _looked(seen: Floats, look: int, rule: PromotionRule, *, passed: bool) -> Judgement | None:
    """What a look leads to; None: to the next one."""
    probability, required = better(seen), required_of_look(look, rule.confidence)
    told = _told(seen, probability, required, f"at look {look} of {rule.looks}")
    if not passed:
        message = "the gate has not passed it, so that no rule promotes it; a person may, by command"
        return Retire(look, (Reason(code="gate_refused", message=message), Reason(code="looked", message=told)))
    if probability is not None and probability >= required:
        return Promote(look, (Reason(code="better", message=told),))
    if probability is not None and probability <= 1 - required:
        return Retire(look, (Reason(code="worse", message=told),))
    return Retire(look, (Reason(code="not_better", message=told),)) if look == rule.looks else None


def _told(seen: Floats, probability: float | None, required: float, when: str) -> str:
    if probability is None:
        return f"over {len(seen)} sessions it earned what the champion did ({when})"
    return (
        f"over {len(seen)} sessions it earned {float(seen.sum()):+.4%} of the stake beyond the champion; the "
        f"probability that it is better is {probability:.4f}, at least {required:.4g} is required ({when})"
    )
