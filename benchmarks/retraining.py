"""Does retraining begin for a reason only, and is only what is better promoted?

    python -m benchmarks.retraining [--streams N] [--workers N]

Seeded streams of twenty features of four instruments, from independent ones to such that hardly change from bar to bar,
with fat tails and volatility that comes in clusters, and a champion's profit beside them, go through the service's own
detectors and decisions, session by session for a year. Noise challengers, the best of as many as a search tries, go
through its gate, whose looks at the hold-out are counted, and its paired test. The last line is one JSON object; the
exit status is 1 where a target is missed.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy.signal import lfilter

from orchestrator.core.arrays import Floats
from orchestrator.core.calendar import calendar_named
from orchestrator.core.deflation import Cohort, expected_maximum, moments, trial_variance
from orchestrator.core.drift import DAILY_WINDOW, Watch, profile_of
from orchestrator.core.gate import Evidence as Shown
from orchestrator.core.gate import Span, look_number
from orchestrator.core.gate import judge as gate
from orchestrator.core.performance import Account
from orchestrator.core.promotion import Promote, Retire, judge
from orchestrator.core.retraining import Evidence, Fire, Join, Standing, decide, readings
from schemas.base import JsonObject
from schemas.experiments import GateVerdict
from schemas.policies import DriftRule, OutlierRule, PerformanceRule, Policy, PromotionRule

TRAINED, YEAR, TESTED = 2000, 252, 1260
"""Sessions of training, of a year, and of profit out of fold."""
INSTRUMENTS = 4
PERSISTENCE = np.array([0.0] * 4 + [0.3] * 2 + [0.5] * 2 + [0.7] * 2 + [0.8] * 3 + [0.9] * 3 + [0.95] * 2 + [0.98] * 2)
"""Of the features: the correlation of one bar with the next."""
NAMES = tuple(f"f{number}" for number in range(len(PERSISTENCE)))
FREE, PERSISTENT = 0, 12
"""Features that are shifted: one that forgets at once, and one of 0.8."""
START = datetime(2012, 1, 3, tzinfo=UTC)
CHAMPION = 2.0
"""Annual Sharpe ratio."""
TRIALS = 20
"""Of each week's search."""
HELD_OUT = 60
EVERYTHING = Policy(drift=DriftRule(), performance=PerformanceRule(), outliers=OutlierRule())


ONLY_DRIFT, ONLY_PERFORMANCE = Policy(drift=DriftRule()), Policy(performance=PerformanceRule())
PATIENT = Policy(drift=DriftRule(), cooldown_hours=24.0 * 400)


@dataclass(frozen=True)
class Shift:
    """What is not any more as in training: `features` of the first instrument are moved by so many of their deviations
    there, or stretched; the champion has another Sharpe ratio."""

    features: tuple[int, ...] = ()
    moved: float = 0.0
    stretched: float = 1.0
    sharpe: float = CHAMPION
    policy: Policy = EVERYTHING


NOTHING = Shift()
SHIFTS = {
    "mean + 1 deviation": Shift((FREE,), moved=1.0, policy=ONLY_DRIFT),
    "deviation doubled": Shift((FREE,), stretched=2.0, policy=ONLY_DRIFT),
    "mean + 1, persistence 0.8": Shift((PERSISTENT,), moved=1.0, policy=ONLY_DRIFT),
    "mean + 2, persistence 0.8": Shift((PERSISTENT,), moved=2.0, policy=ONLY_DRIFT),
    "mean + 3, persistence 0.8": Shift((PERSISTENT,), moved=3.0, policy=ONLY_DRIFT),
    "deviation doubled, persistence 0.8": Shift((PERSISTENT,), stretched=2.0, policy=ONLY_DRIFT),
    "Sharpe ratio 2, now 0": Shift(sharpe=0.0, policy=ONLY_PERFORMANCE),
    "Sharpe ratio 2, now -3": Shift(sharpe=-3.0, policy=ONLY_PERFORMANCE),
}
REPEATED = Shift(tuple(range(11)), moved=2.0, policy=PATIENT)
"""Eleven features at once, and again in every window of the year, within one cool-down."""


@dataclass(frozen=True)
class Year:
    """What a policy did in a year: the sessions and the kinds of what it fired for, and the causes that joined."""

    fired: tuple[int, ...]
    kinds: tuple[str, ...]
    joined: int


def lived(shift: Shift, seed: int) -> Year:
    """A year of a stream, decided after every session; what fires stays without a successor."""
    policy = shift.policy
    rng = np.random.default_rng([seed, 1])
    calendar = calendar_named()
    closes = calendar.session_closes(START, START + timedelta(days=400))[:YEAR]
    tapes = [_features(rng) for _ in range(INSTRUMENTS)]
    profiles = [profile_of(tape[:TRAINED], NAMES, DAILY_WINDOW, INSTRUMENTS) for tape in tapes]
    for feature in shift.features:
        column = tapes[0][:, feature]
        column[TRAINED:] = column[TRAINED:] * shift.stretched + shift.moved * column[:TRAINED].std()
    verdict = _verdict(rng)
    profit = _profit(rng, shift.sharpe)
    watches = {f"T{number}": Watch() for number in range(INSTRUMENTS)}
    account = Account()
    standing = Standing(
        set_at=START,
        trained_through=START,
        verdict=verdict,
        account=account,
        profiles={f"T{number}": each for number, each in enumerate(profiles) if each is not None},
    )
    known: list[JsonObject] = []
    fired: list[int] = []
    kinds: list[str] = []
    joined, fired_at = 0, None
    for session, close in enumerate(closes):
        now = close.astype(datetime).replace(tzinfo=UTC)
        for (ticker, profile), tape in zip(standing.profiles.items(), tapes, strict=True):
            row = tape[TRAINED + session : TRAINED + session + 1]
            watches[ticker], _ = profile.watch(watches[ticker], closes[session : session + 1], row)
        account.profit[now] = float(profit[session])
        told = readings(policy, replace(standing, through=now, watches=watches, known=known), calendar, now)
        decision = decide(policy, Evidence("desk", 1, told, known, fired_at), calendar, now)
        if isinstance(decision, Fire):
            fired_at = now
            fired.append(session + 1)
            kinds.append(decision.causes[0]["kind"])
            joined += len(decision.causes) - 1
            known += decision.causes
        if isinstance(decision, Join):
            joined += len(decision.causes)
            known += decision.causes
    return Year(tuple(fired), tuple(kinds), joined)


@dataclass(frozen=True)
class Trials:
    """What became of a year's challengers: how many there were, passed the gate, and were promoted; and of those that
    were promoted, after how many sessions."""

    challengers: int
    passed: int
    promoted: tuple[int, ...]


def weekly(seed: int, *, skill: float = 0.0, gated: bool = True, one_at_a_time: bool = True) -> Trials:
    """A year of weekly searches, the best of each of which is a challenger of a champion with skill.

    Args:
        seed: of the year.
        skill: the challengers' annual Sharpe ratio.
        gated: False: the gate is taken to have let all through.
        one_at_a_time: as in the service, where a search waits for the end of a trial; False: each week has one.
    """
    rng = np.random.default_rng([seed, 2])
    rule = PromotionRule()
    market = rng.standard_t(5, YEAR + rule.looks * rule.sessions)
    champion = _profit(rng, CHAMPION, market)
    cohorts: list[Cohort] = []
    sharpes: list[float] = []
    spans: list[Span] = []
    promoted: list[int] = []
    challengers = passed = free = 0
    for week in range(0, YEAR, 5):
        if week < free:
            continue
        own = np.stack([_profit(rng, skill, rng.standard_t(5, TESTED)) for _ in range(TRIALS)])
        found = [found.sharpe if (found := moments(each)) else 0.0 for each in own]
        cohorts.append(Cohort(own, ["T"] * TRIALS))
        sharpes += found
        best = own[int(np.argmax(found))]
        # The hold-out are the sessions before the week: those of different weeks overlap.
        span = Span(START + timedelta(days=week - HELD_OUT), START + timedelta(days=week - 1))
        benchmark = expected_maximum(len(sharpes), trial_variance(sharpes, cohorts))
        shown = Shown(
            profit=best,
            active=best,
            sessions_per_year=YEAR,
            trials=len(sharpes),
            benchmark=expected_maximum(len(sharpes), trial_variance(sharpes, cohorts)),
            active_benchmark=benchmark,
            holdout=_profit(rng, skill, rng.standard_t(5, HELD_OUT)),
            looks=look_number(span, spans),
        )
        spans.append(span)
        let_through = not gated or gate(shown, mode="live").verdict.passed
        challengers, passed = challengers + 1, passed + let_through
        trial = slice(week, week + rule.looks * rule.sessions)
        difference = _profit(rng, skill, market[trial]) - champion[trial]
        judged = _ended(difference, rule, passed=let_through)
        ended = judged.look * rule.sessions
        if one_at_a_time:
            free = week + ended
        if isinstance(judged, Promote):
            promoted.append(ended)
            if one_at_a_time:
                break
    return Trials(challengers, passed, tuple(promoted))


def _ended(difference: Floats, rule: PromotionRule, *, passed: bool) -> Promote | Retire:
    judged = judge(difference, rule, passed=passed)
    assert isinstance(judged, Promote | Retire)
    return judged


def _features(rng: np.random.Generator) -> Floats:
    """Rows (TRAINED + YEAR, f) of one instrument: stationary, alike by a common factor, with clusters of volatility."""
    count, warm = TRAINED + YEAR, 500
    drawn = rng.standard_t(5, (count + warm, len(PERSISTENCE))) + 0.7 * rng.standard_normal((count + warm, 1))
    columns = [
        lfilter([math.sqrt(1 - each**2)], [1, -each], drawn[:, place])[warm:] for place, each in enumerate(PERSISTENCE)
    ]
    volatility = np.exp(_slow(rng, count))
    return np.column_stack([column * volatility if place % 5 == 1 else column for place, column in enumerate(columns)])


def _slow(rng: np.random.Generator, count: int) -> Floats:
    """Log volatility: its deviation is a quarter, and half of it is forgotten in a month."""
    values: Floats = lfilter([1], [1, -0.97], rng.standard_normal(count + 300) * 0.06)[300:]
    return values


def _profit(rng: np.random.Generator, sharpe: float, market: Floats | None = None) -> Floats:
    """Profit by session, with an annual Sharpe ratio, fat tails and clusters of volatility, in part the market's."""
    count = YEAR if market is None else len(market)
    noise = rng.standard_t(5, count) if market is None else 0.5 * market + math.sqrt(0.75) * rng.standard_t(5, count)
    mean = sharpe / math.sqrt(YEAR)
    return np.asarray(0.01 * (mean + noise / math.sqrt(5 / 3) * np.exp(_slow(rng, count))))


def _verdict(rng: np.random.Generator) -> GateVerdict:
    """Of a champion that is the best of many as good as it is: out of fold it looks better."""
    seen = CHAMPION / math.sqrt(YEAR) + float(rng.normal(0, 1 / math.sqrt(TESTED), TRIALS).max())
    return GateVerdict(
        passed=True,
        deflated_sharpe=0.99,
        active_deflated_sharpe=0.99,
        trials=TRIALS,
        benchmark_sharpe=expected_maximum(TRIALS, 1 / TESTED),
        sharpe_ratio=seen * math.sqrt(YEAR),
        sessions=TESTED,
        required=0.95,
    )


def main() -> int:
    """Run everything, print a table, and the figures as JSON."""
    parser = argparse.ArgumentParser(description="Does retraining begin for a reason only, and is the better promoted?")
    parser.add_argument("--streams", type=int, default=100, help="and years of challengers (100); shifts: a fifth")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one a core)")
    asked = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    seeds, few = range(asked.streams), range(max(1, asked.streams // 5))
    found: dict[str, dict[str, Any]] = {}

    def tell(name: str, figures: dict[str, Any]) -> None:
        found[name] = figures
        print(f"{name:<36}{', '.join(f'{value} {what}' for what, value in figures.items())}", flush=True)

    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        tell("nothing changes", _fired(list(pool.map(partial(lived, NOTHING), seeds))))
        for name, shift in SHIFTS.items():
            tell(name, _noticed(list(pool.map(partial(lived, shift), few))))
        tell("eleven features, one cool-down", _coalesced(list(pool.map(partial(lived, REPEATED), few))))
        for name, how in CHALLENGERS.items():
            tell(name, _tried(list(pool.map(partial(weekly, **how), seeds))))
    left = [name for name, missed in _missed(found, asked.streams).items() if missed]
    print(f"missed: {', '.join(left) or 'none'}")
    print(json.dumps({**found, "missed": left}), flush=True)
    return 1 if left else 0


CHALLENGERS: dict[str, dict[str, Any]] = {
    "noise": {},
    "noise, 52 trials a year": {"one_at_a_time": False},
    "noise, 52 trials, no gate": {"one_at_a_time": False, "gated": False},
    "as good, 52 trials, no gate": {"one_at_a_time": False, "gated": False, "skill": CHAMPION},
    "Sharpe ratio 6": {"skill": 6.0},
}
"""Of a champion with a Sharpe ratio of 2: what searches find, each week."""


def _fired(years: Sequence[Year]) -> dict[str, Any]:
    kinds = [kind for year in years for kind in year.kinds]
    counted = {kind: kinds.count(kind) for kind in ("drift", "performance", "outliers")}
    return {"years": len(years), "fired": sum(bool(year.fired) for year in years), **counted}


def _noticed(years: Sequence[Year]) -> dict[str, Any]:
    first = [year.fired[0] for year in years if year.fired]
    bars = sorted([*first, *[math.inf] * (len(years) - len(first))])[len(years) // 2]
    return {"years": len(years), "noticed": len(first), "bars (median)": None if math.isinf(bars) else bars}


def _coalesced(years: Sequence[Year]) -> dict[str, Any]:
    requests = [len(year.fired) for year in years]
    return {
        "years": len(years),
        "requests at least": min(requests),
        "requests at most": max(requests),
        "joined at least": min(year.joined for year in years),
    }


def _tried(years: Sequence[Trials]) -> dict[str, Any]:
    promoted = [sessions for year in years for sessions in year.promoted]
    return {
        "years": len(years),
        "challengers": sum(year.challengers for year in years),
        "passed the gate": sum(year.passed for year in years),
        "promoted": len(promoted),
        "sessions (median)": int(np.median(promoted)) if promoted else None,
    }


def _missed(found: dict[str, dict[str, Any]], years: int) -> dict[str, bool]:
    together = found["eleven features, one cool-down"]
    return {
        "nothing changes": found["nothing changes"]["fired"] * 100 > 5 * years,
        "noise": found["noise"]["promoted"] * 100 > 2 * years,
        "eleven features, one cool-down": (together["requests at least"], together["requests at most"]) != (1, 1)
        or together["joined at least"] < 10,
    }


if __name__ == "__main__":
    sys.exit(main())
