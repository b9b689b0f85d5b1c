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
CALM, RESTLESS = 0, 12
"""Features that are shifted: one that forgets at once, and one with a persistence of 0.8."""
START = datetime(2012, 1, 3, tzinfo=UTC)
CHAMPION = 2.0
"""Annual Sharpe ratio."""
TRIALS = 20
"""Of each week's search."""
HELD_OUT = 60
EVERYTHING = Policy(drift=DriftRule(), performance=PerformanceRule(), outliers=OutlierRule())


@dataclass(frozen=True)
class Shift:
    """What changes at the end of training: `feature` of the first `instruments` is moved by so many of its deviations,
    and stretched."""

    name: str
    features: tuple[int, ...] = ()
    moved: float = 0.0
    stretched: float = 1.0
    instruments: int = 1


NOTHING = Shift("nothing")
SHIFTS = (
    Shift("mean + 1 deviation", (CALM,), moved=1.0),
    Shift("volatility doubled", (CALM,), stretched=2.0),
    Shift("mean + 1, persistence 0.8", (RESTLESS,), moved=1.0),
    Shift("volatility doubled, persistence 0.8", (RESTLESS,), stretched=2.0),
    Shift("mean + 3, persistence 0.8", (RESTLESS,), moved=3.0),
)
REPEATED = Shift("eleven features at once", tuple(range(11)), moved=2.0)


@dataclass(frozen=True)
class Year:
    """What a policy did in a year: the sessions and the kinds of what it fired for, and the causes that joined."""

    fired: tuple[int, ...]
    kinds: tuple[str, ...]
    joined: int


def lived(shift: Shift, seed: int, policy: Policy = EVERYTHING) -> Year:
    """A year of a stream, decided after every session; what fires stays without a successor."""
    rng = np.random.default_rng([seed, 1])
    calendar = calendar_named()
    closes = calendar.session_closes(START, START + timedelta(days=400))[:YEAR]
    tapes = [_features(rng) for _ in range(INSTRUMENTS)]
    profiles = [profile_of(tape[:TRAINED], NAMES, DAILY_WINDOW, INSTRUMENTS) for tape in tapes]
    for tape in tapes[: shift.instruments]:
        for feature in shift.features:
            deviation = tape[:TRAINED, feature].std()
            tape[TRAINED:, feature] = tape[TRAINED:, feature] * shift.stretched + shift.moved * deviation
    verdict = _verdict(rng)
    profit = _profit(rng, CHAMPION)
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
        shown = Shown(
            profit=best,
            active=best,
            sessions_per_year=YEAR,
            trials=len(sharpes),
            benchmark=expected_maximum(len(sharpes), trial_variance(sharpes, cohorts)),
            active_benchmark=0.0,
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
    parser = argparse.ArgumentParser(description="Does retraining begin for a reason, and only what is better stay?")
    parser.add_argument("--streams", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one a core)")
    asked = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    seeds, few = range(asked.streams), range(max(1, asked.streams // 5))
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        found: dict[str, Any] = {"stationary": _stationary(list(pool.map(partial(lived, NOTHING), seeds)))}
        for shift in SHIFTS:
            found[shift.name] = _noticed(list(pool.map(partial(lived, shift, policy=ONLY_DRIFT), few)))
        found[REPEATED.name] = _coalesced(list(pool.map(partial(lived, REPEATED, policy=PATIENT), few)))
        for name, how in CHALLENGERS.items():
            found[name] = _tried(list(pool.map(partial(weekly, **how), seeds)))
    left = [name for name, missed in _missed(found, asked.streams).items() if missed]
    print(f"missed: {', '.join(left) or 'none'}")
    print(json.dumps({**found, "missed": left}), flush=True)
    return 1 if left else 0


ONLY_DRIFT = Policy(drift=DriftRule())
PATIENT = Policy(drift=DriftRule(), cooldown_hours=24.0 * 400)
CHALLENGERS: dict[str, dict[str, Any]] = {
    "noise, weekly": {},
    "noise, weekly, 52 a year": {"one_at_a_time": False},
    "noise, 52 a year, no gate": {"one_at_a_time": False, "gated": False},
    "as good, 52 a year, no gate": {"one_at_a_time": False, "gated": False, "skill": CHAMPION},
    "Sharpe ratio 6": {"skill": 6.0},
}


def _stationary(years: Sequence[Year]) -> dict[str, Any]:
    kinds = [kind for year in years for kind in year.kinds]
    figures = {"streams": len(years), "fired": sum(bool(year.fired) for year in years)}
    figures |= {kind: kinds.count(kind) for kind in ("drift", "performance", "outliers")}
    print(f"{'a year, nothing changes':<40}{figures}", flush=True)
    return figures


def _noticed(years: Sequence[Year]) -> dict[str, Any]:
    first = [year.fired[0] if year.fired else math.inf for year in years]
    median = float(np.median(first))
    figures = {
        "streams": len(years),
        "noticed": sum(math.isfinite(each) for each in first),
        "bars": None if math.isinf(median) else int(median),
    }
    print(f"{'noticed':<40}{figures}", flush=True)
    return figures


def _coalesced(years: Sequence[Year]) -> dict[str, Any]:
    figures = {
        "streams": len(years),
        "requests": [len(year.fired) for year in years],
        "joined": [year.joined for year in years],
    }
    print(f"{'requests':<40}{figures}", flush=True)
    return figures


def _tried(years: Sequence[Trials]) -> dict[str, Any]:
    promoted = [sessions for year in years for sessions in year.promoted]
    figures = {
        "years": len(years),
        "challengers": sum(year.challengers for year in years),
        "passed": sum(year.passed for year in years),
        "promoted": len(promoted),
        "sessions": int(np.median(promoted)) if promoted else None,
    }
    print(f"{'challengers':<40}{figures}", flush=True)
    return figures


def _missed(found: dict[str, Any], streams: int) -> dict[str, bool]:
    return {
        "stationary": found["stationary"]["fired"] * 100 > 5 * streams,
        "noise, weekly": found["noise, weekly"]["promoted"] * 100 > 2 * streams,
        REPEATED.name: any(each != 1 for each in found[REPEATED.name]["requests"])
        or any(each < 10 for each in found[REPEATED.name]["joined"]),
    }


if __name__ == "__main__":
    sys.exit(main())
