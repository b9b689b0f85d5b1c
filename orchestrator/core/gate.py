"""The gate: whether an ensemble may be deployed by itself."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import Moments, moments, psr
from schemas.base import Mode, Reason
from schemas.experiments import GateVerdict

REQUIRED = 0.95
Override = Literal["forbid", "paper", "live"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the gate looks at. Profits are net and by session, flat sessions included, and causal: out of fold.

    `profit` (n,) is the ensemble's, `active` (n,) what it has beyond merely holding its mean position; `benchmark` and
    `active_benchmark` are the Sharpe ratios per session that luck would show of each, after `trials` configurations.
    `holdout` is the profit over the hold-out, None where there is none; `looks` is the number of this look at it.
    """

    profit: Floats
    active: Floats
    sessions_per_year: float
    trials: int
    benchmark: float
    active_benchmark: float
    holdout: Floats | None = None
    looks: int = 0


@dataclass(frozen=True)
class Span:
    """Bars of a hold-out: the event times of its first and its last, both included."""

    start: datetime
    end: datetime

    def overlaps(self, other: "Span") -> bool:
        """Whether both have a moment in common."""
        return self.start <= other.end and other.start <= self.end


@dataclass(frozen=True)
class Decision:
    """The verdict, and the mode in which the ensemble may be deployed; None: not at all."""

    verdict: GateVerdict
    mode: Mode | None


def required_of_look(look: int, required: float = REQUIRED) -> float:
    """The probability that the `look`-th look at a hold-out must show: 1 - (1 - required) / (look (look + 1)).

    The allowances of all looks add up to 1 - required, however many are taken.
    """
    if look < 1:
        raise ValueError(f"looks are counted from 1, not {look}")
    return 1.0 - (1.0 - required) / (look * (look + 1))


def look_number(span: Span, earlier: Iterable[Span]) -> int:
    """Which look at a hold-out this is, from 1, after `earlier` looks by others: each that overlaps has used it up."""
    return 1 + sum(span.overlaps(other) for other in earlier)


def judge(
    evidence: Evidence, *, mode: Mode, gated: bool = True, override: Override = "paper", required: float = REQUIRED
) -> Decision:
    """Judge an ensemble, and say what may be done with it.

    Args:
        evidence: of the ensemble.
        mode: that the request asks for.
        gated: False where the request asks to deploy whatever the verdict is.
        override: what such a request may do: nothing, deploy where no money follows (live becomes paper), or all.
        required: the probability that each figure must reach.

    Raises:
        ValueError: there is a hold-out, but `looks` is not counted.
    """
    observed, active = moments(evidence.profit), moments(evidence.active)
    deflated = None if observed is None else psr(observed, evidence.benchmark)
    active_deflated = None if active is None else psr(active, evidence.active_benchmark)
    annual = math.sqrt(evidence.sessions_per_year)

    def luck(benchmark: float) -> str:
        return f"best of {evidence.trials} by luck: Sharpe ratio {benchmark * annual:.2f}"

    reasons = [
        *_below(
            "deflated_sharpe",
            "the deflated Sharpe ratio",
            deflated,
            required,
            _seen(observed, annual),
            luck(evidence.benchmark),
        ),
        *_below(
            "active_deflated_sharpe",
            "the deflated Sharpe ratio beyond holding the mean position",
            active_deflated,
            required,
            _seen(active, annual),
            luck(evidence.active_benchmark),
        ),
    ]
    holdout_psr = None
    if evidence.holdout is not None:
        held_out = moments(evidence.holdout)
        holdout_psr = None if held_out is None else psr(held_out)
        bar = required_of_look(evidence.looks, required)
        look = f"look {evidence.looks} at these sessions, or at some of them"
        if evidence.looks > 1:
            look += "; fresh ones would ask for less"
        what = "the probability of skill over the hold-out"
        reasons += _below("holdout_psr", what, holdout_psr, bar, _seen(held_out, annual), look)
    passed = not reasons
    allowed = mode if passed else _overridden(mode, gated, override)
    verdict = GateVerdict(
        passed=passed,
        deflated_sharpe=deflated,
        active_deflated_sharpe=active_deflated,
        holdout_psr=holdout_psr,
        looks=evidence.looks,
        trials=evidence.trials,
        benchmark_sharpe=evidence.benchmark,
        sharpe_ratio=None if observed is None else observed.sharpe * annual,
        sessions=len(evidence.profit),
        required=required,
        overridden=not passed and allowed is not None,
        reasons=tuple(reasons),
    )
    return Decision(verdict, allowed)


def _overridden(mode: Mode, gated: bool, override: Override) -> Mode | None:
    if gated or override == "forbid":
        return None
    return "paper" if override == "paper" and mode == "live" else mode


def _seen(observed: Moments | None, annual: float) -> str:
    if observed is None:
        return "there is no variance in its profit"
    return f"Sharpe ratio {observed.sharpe * annual:.2f} over {observed.sessions} sessions"


def _below(where: str, what: str, value: float | None, required: float, seen: str, context: str) -> tuple[Reason, ...]:
    """The reason why a figure fails, if it does."""
    if value is not None and value >= required:
        return ()
    if value is None:
        message = f"{what} is not defined, at least {required:.4g} is required ({seen}; {context})"
        return (Reason(code="not_defined", where=where, message=message),)
    message = f"{what} is {value:.4f}, at least {required:.4g} is required ({seen}; {context})"
    return (Reason(code="below_required", where=where, message=message),)
