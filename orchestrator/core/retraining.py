"""Retraining: what the detectors of an ensemble read, and whether its policy asks for a search because of it."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from cronsim import CronSimError

from orchestrator.core.bands import out_of_fold_band
from orchestrator.core.calendar import Calendar
from orchestrator.core.drift import Profile, Watch, Window
from orchestrator.core.performance import Account
from orchestrator.core.schedules import is_always_quiet, is_quiet, last_time, next_time
from schemas.base import JsonObject, Reason, format_instant, parse_instant
from schemas.experiments import GateVerdict
from schemas.policies import Policy
from schemas.retraining import DetectorReading

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NEAREST = 20
"""Features of which readings tell, besides those that fire."""
URGENCY = ("performance", "drift", "outliers", "age", "schedule")
"""What a trigger is told to be caused by, where several rules fire at once."""


@dataclass(frozen=True)
class Standing:
    """What is known of the version that serves, and of the policy on its ensemble.

    Attributes:
        set_at: since when the policy stands: what was scheduled before does not count.
        trained_through: the last bar that it was trained on.
        through: the newest live bar; None: there was none.
        verdict: the gate's on it.
        account: its own book; None: it has none yet.
        profiles: by instrument, where it has one.
        watches: by instrument, where its ticks were watched.
        known: causes that triggers have, first ones and joined ones.
    """

    set_at: datetime
    trained_through: datetime
    through: datetime | None = None
    verdict: GateVerdict | None = None
    account: Account | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)
    known: Sequence[JsonObject] = ()


@dataclass(frozen=True)
class Evidence:
    """What a policy decides by.

    Attributes:
        ensemble: whose policy it is.
        version: the one that serves.
        readings: of its detectors.
        known: causes that the ensemble's triggers have, first ones and joined ones.
        fired_at: when the newest of them fired; None: none has.
        under_way: the search of the newest is.
        challenger: one is on trial.
        trials: that the search would make.
        trials_today: that were triggered within the last 24 hours.
    """

    ensemble: str
    version: int
    readings: Sequence[DetectorReading]
    known: Sequence[JsonObject] = ()
    fired_at: datetime | None = None
    under_way: bool = False
    challenger: bool = False
    trials: int = 0
    trials_today: int = 0


@dataclass(frozen=True)
class Fire:
    """A search is to be asked for, because of the first cause; the others join it."""

    causes: tuple[JsonObject, ...]


@dataclass(frozen=True)
class Join:
    """The causes join the newest trigger."""

    causes: tuple[JsonObject, ...]
    reason: Reason


@dataclass(frozen=True)
class Wait:
    """Something is due, and nothing may be triggered now."""

    causes: tuple[JsonObject, ...]
    reason: Reason


Decision = Fire | Join | Wait


def decide(policy: Policy, evidence: Evidence, calendar: Calendar, now: datetime) -> Decision | None:
    """What follows from the readings; None: nothing is due.

    A cause is new where its window ends after all that is known of the same instrument and feature. A trigger needs
    evidence of its own, a window that begins after those that the rule has fired for: a shift that lasts asks for
    another search a window later, not a day later.
    """
    causes = (cause for each in evidence.readings if (cause := cause_of(policy, evidence, each)) is not None)
    new = tuple(cause for cause in causes if _is_new(cause, evidence.known))
    if new and (reason := in_the_way(policy, evidence, now)):
        return Join(new, reason) if evidence.fired_at is not None else Wait(new, reason)
    fresh = sorted((cause for cause in new if _is_fresh(cause, evidence.known)), key=_urgency)
    if not fresh:
        return None
    if reason := postponed(policy, evidence, calendar, now):
        return Wait(tuple(fresh), reason)
    return Fire((*fresh, *(cause for cause in new if cause not in fresh)))


def in_the_way(policy: Policy, evidence: Evidence, now: datetime) -> Reason | None:
    """Why a new cause joins the newest trigger instead of being one; None: it does not."""
    if evidence.under_way:
        return Reason(code="under_way", message="the search that was triggered last is under way")
    if evidence.challenger:
        return Reason(code="challenger", message="a challenger is on trial")
    cooldown = timedelta(hours=policy.cooldown_hours)
    if evidence.fired_at is not None and now < evidence.fired_at + cooldown:
        until = format_instant(evidence.fired_at + cooldown)
        return Reason(code="cooling_down", message=f"what was triggered last is cooling down until {until}")
    return None


def postponed(policy: Policy, evidence: Evidence, calendar: Calendar, now: datetime) -> Reason | None:
    """Why nothing may be triggered at this time; None: it may."""
    if is_quiet(policy.quiet, calendar, now):
        return Reason(code="quiet_hours", message="these are quiet hours; what is due then is triggered afterwards")
    budget = policy.trials_per_day
    if budget is not None and evidence.trials_today + evidence.trials > budget:
        message = (
            f"{evidence.trials} trials more than the {evidence.trials_today} of the last 24 hours would be more than "
            f"{budget} a day"
        )
        return Reason(code="budget", where="trials_per_day", message=message)
    return None


def cause_of(policy: Policy, evidence: Evidence, reading: DetectorReading) -> JsonObject | None:
    """Why a reading asks for a search; None: it does not."""
    start, end = reading.window_start, reading.window_end
    if start is None or end is None or not fires(policy, reading):
        return None
    return {
        "kind": reading.detector,
        "ensemble": evidence.ensemble,
        "version": evidence.version,
        "detector": reading.detector,
        "ticker": reading.ticker,
        "feature": reading.feature,
        "figure": None if reading.detector == "schedule" else reading.figure,
        "threshold": reading.threshold,
        "window_start": format_instant(start),
        "window_end": format_instant(end),
    }


def fires(policy: Policy, reading: DetectorReading) -> bool:
    """Whether a reading is beyond what its rule allows."""
    if reading.figure is None:
        return False
    match reading.detector:
        case "drift":
            return policy.drift is not None and reading.streak >= policy.drift.windows
        case "performance":
            return reading.figure < reading.threshold
        case "schedule":
            return reading.figure <= reading.threshold
    return reading.figure > reading.threshold


def readings(policy: Policy, standing: Standing, calendar: Calendar, now: datetime) -> tuple[DetectorReading, ...]:
    """What the detectors of the policy's rules say, rule by rule; of drift, each instrument's features."""
    return (
        *_schedule(policy, standing, calendar, now),
        *_age(policy, standing),
        *_performance(policy, standing, calendar),
        *_drift(policy, standing),
        *_outliers(policy, standing),
    )


def _schedule(policy: Policy, standing: Standing, calendar: Calendar, now: datetime) -> Iterator[DetectorReading]:
    """Hours until the next time; what is left of the last one, 0 or less, as long as no trigger has it."""
    if policy.schedule is None:
        return
    handled = [parse_instant(each["window_end"]) for each in standing.known if each.get("kind") == "schedule"]
    after = max([standing.set_at, *handled])
    moment = last_time(policy.schedule, calendar, after, now) or next_time(policy.schedule, calendar, now)
    hours = None if moment is None else (moment - now) / HOUR
    yield DetectorReading(detector="schedule", figure=hours, threshold=0.0, window_start=moment, window_end=moment)


def _age(policy: Policy, standing: Standing) -> Iterator[DetectorReading]:
    if policy.max_age_days is None:
        return
    through = standing.through
    yield DetectorReading(
        detector="age",
        figure=None if through is None else (through - standing.trained_through) / DAY,
        threshold=policy.max_age_days,
        window_start=None if through is None else through - timedelta(days=policy.max_age_days),
        window_end=through,
    )


def _performance(policy: Policy, standing: Standing, calendar: Calendar) -> Iterator[DetectorReading]:
    rule, account = policy.performance, standing.account
    if rule is None or standing.verdict is None:
        return
    settled = {} if account is None else account.profit
    # Of the session under way, not all is settled yet.
    newest = None if account is None else account.session
    sessions = [session for session in sorted(settled) if newest is None or session < newest]
    profit = np.array([settled[session] for session in sessions])
    band = out_of_fold_band(
        profit,
        standing.verdict,
        sessions=rule.sessions,
        confidence=rule.confidence,
        sessions_per_year=calendar.sessions_per_year,
    )
    recent = sessions[-rule.sessions :]
    yield DetectorReading(
        detector="performance",
        figure=None if band is None else band.figure,
        threshold=0.0 if band is None else band.low,
        window_start=recent[0] if recent else None,
        window_end=recent[-1] if recent else None,
    )


def _drift(policy: Policy, standing: Standing) -> list[DetectorReading]:
    """What fires, and the features that are nearest to it; an instrument without a whole window has no figure."""
    rule = policy.drift
    if rule is None:
        return []
    found: list[tuple[float, DetectorReading]] = []
    for ticker, profile in standing.profiles.items():
        watch = standing.watches.get(ticker, Watch())
        last = watch.last
        if last is None:
            least = float(profile.thresholds.min())
            unknown = DetectorReading(detector="drift", ticker=ticker, figure=None, threshold=least)
            found.append((-math.inf, unknown))
            continue
        nearness = np.array(watch.streaks) + np.array(last.psi) / profile.thresholds
        asked = [place for place, name in enumerate(profile.feature_names) if name in (rule.features or (name,))]
        nearest = sorted(asked, key=lambda place: -float(nearness[place]))
        for number, place in enumerate(nearest):
            if number < NEAREST or watch.streaks[place] >= rule.windows:
                threshold, name = float(profile.thresholds[place]), profile.feature_names[place]
                reading = _of_window("drift", ticker, last, last.psi[place], threshold, watch.streaks[place], name)
                found.append((float(nearness[place]), reading))
    found.sort(key=lambda each: -each[0])
    return [each for place, (_, each) in enumerate(found) if place < NEAREST or fires(policy, each)]


def _outliers(policy: Policy, standing: Standing) -> Iterator[DetectorReading]:
    if policy.outliers is None:
        return
    for ticker in standing.profiles:
        last = _last(standing, ticker)
        if last is not None:
            yield _of_window("outliers", ticker, last, last.outliers, policy.outliers.share)


def _last(standing: Standing, ticker: str) -> Window | None:
    return standing.watches.get(ticker, Watch()).last


def _of_window(
    detector: Literal["drift", "outliers"],
    ticker: str,
    window: Window,
    figure: float,
    threshold: float,
    streak: int = 0,
    feature: str | None = None,
) -> DetectorReading:
    return DetectorReading(
        detector=detector,
        ticker=ticker,
        feature=feature,
        figure=figure,
        threshold=threshold,
        streak=streak,
        window_start=window.start,
        window_end=window.end,
    )


def faults(policy: Policy, tickers: Collection[str], calendar: Calendar, now: datetime) -> tuple[Reason, ...]:
    """Everything that is wrong with a policy on an ensemble of these instruments."""
    return tuple(_faults(policy, tickers, calendar, now))


def _faults(policy: Policy, tickers: Collection[str], calendar: Calendar, now: datetime) -> Iterator[Reason]:
    if policy.schedule is not None:
        try:
            upcoming = next_time(policy.schedule, calendar, now)
        except CronSimError as error:
            yield Reason(code="not_a_schedule", where="schedule", message=f"{policy.schedule!r} is no cron: {error}")
        else:
            if upcoming is None:
                message = f"{policy.schedule!r} names no day with a session within a year; name another"
                yield Reason(code="never_due", where="schedule", message=message)
    if is_always_quiet(policy.quiet):
        message = "these hours are the whole day, so that nothing is ever triggered; leave some out"
        yield Reason(code="always_quiet", where="quiet", message=message)
    for ticker in policy.promotion.canary:
        if ticker not in tickers:
            message = f"the ensemble has no such instrument; choose of: {', '.join(sorted(tickers))}"
            yield Reason(code="unknown_ticker", where=f"promotion/canary/{ticker}", message=message[:4096])
    if policy.promotion.canary and set(policy.promotion.canary) >= set(tickers):
        message = "a canary on every instrument is a promotion; leave some out, or leave it empty"
        yield Reason(code="no_canary", where="promotion/canary", message=message)


def _is_new(cause: JsonObject, known: Iterable[JsonObject]) -> bool:
    """Whether a cause tells more than is known of its source; that a version is too old, once and not at every bar."""
    moment = "window_start" if cause["kind"] == "age" else "window_end"
    source = (*_rule(cause), cause["ticker"], cause["feature"])
    same = (each for each in known if (*_rule(each), each.get("ticker"), each.get("feature")) == source)
    return all(cause[moment] > each["window_end"] for each in same)


def _is_fresh(cause: JsonObject, known: Iterable[JsonObject]) -> bool:
    """Whether a cause's window begins after all windows end for which its rule has fired, whatever they are of."""
    return all(cause["window_start"] > each["window_end"] for each in known if _rule(each) == _rule(cause))


def _rule(cause: JsonObject) -> tuple[object, ...]:
    """Which rule a cause is of: a schedule is the ensemble's, all else the version's."""
    kind = cause.get("kind")
    return (kind, None if kind == "schedule" else cause.get("version"))


def _urgency(cause: JsonObject) -> int:
    return URGENCY.index(cause["kind"])
