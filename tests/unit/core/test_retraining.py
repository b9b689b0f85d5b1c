from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from orchestrator.core.calendar import calendar_named
from orchestrator.core.drift import Watch, Window, profile_of
from orchestrator.core.performance import Account
from orchestrator.core.retraining import (
    Evidence,
    Fire,
    Join,
    Standing,
    Wait,
    decide,
    faults,
    fires,
    readings,
)
from schemas.base import JsonObject, format_instant
from schemas.policies import DriftRule, Hours, OutlierRule, PerformanceRule, Policy
from schemas.retraining import DetectorReading
from tests.unit.core.test_bands import verdict

XNYS = calendar_named()
NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
"""A Monday, 11 o'clock in New York."""
DRIFTING = Policy(drift=DriftRule(), cooldown_hours=24.0)
PROFILE = profile_of(np.random.default_rng(1).normal(size=(2000, 2)), ("rsi_14", "macd_line"), 60)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def drift(feature: str = "rsi_14", *, streak: int = 2, end: datetime = NOW) -> DetectorReading:
    return DetectorReading(
        detector="drift",
        ticker="AAPL",
        feature=feature,
        figure=0.9,
        threshold=0.3,
        streak=streak,
        window_start=end - timedelta(days=60),
        window_end=end,
    )


def evidence(*found: DetectorReading, known: tuple[JsonObject, ...] = (), **changes: Any) -> Evidence:
    return Evidence("desk", 3, found, known, **changes)


def fired(*found: DetectorReading) -> Fire:
    decision = decide(DRIFTING, evidence(*found), XNYS, NOW)
    assert isinstance(decision, Fire)
    return decision


def test_a_reading_beyond_its_threshold_fires_and_says_why() -> None:
    (cause,) = fired(drift()).causes
    assert cause == {
        "kind": "drift",
        "ensemble": "desk",
        "version": 3,
        "detector": "drift",
        "ticker": "AAPL",
        "feature": "rsi_14",
        "figure": 0.9,
        "threshold": 0.3,
        "window_start": format_instant(NOW - timedelta(days=60)),
        "window_end": format_instant(NOW),
    }
    assert decide(DRIFTING, evidence(drift(streak=1)), XNYS, NOW) is None


def test_rules_that_fire_at_once_make_one_trigger_of_the_most_urgent() -> None:
    whole = {"ticker": None, "feature": None}
    age = drift().model_copy(update={**whole, "detector": "age", "figure": 40.0, "threshold": 30.0})
    assert [cause["kind"] for cause in fired(age, drift(), drift("macd_line")).causes] == ["drift", "drift", "age"]


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        ({"fired_at": NOW - timedelta(hours=23)}, "cooling_down"),
        ({"fired_at": NOW - timedelta(days=9), "under_way": True}, "under_way"),
        ({"fired_at": NOW - timedelta(days=9), "challenger": True}, "challenger"),
    ],
)
def test_what_comes_meanwhile_joins_once(standing: JsonObject, code: str) -> None:
    known = fired(drift()).causes
    again = evidence(drift(), drift("macd_line"), known=known, **standing)
    decision = decide(DRIFTING, again, XNYS, NOW)
    assert isinstance(decision, Join)
    assert (decision.reason.code, [cause["feature"] for cause in decision.causes]) == (code, ["macd_line"])
    assert decide(DRIFTING, replace(again, known=(*known, *decision.causes)), XNYS, NOW) is None


def test_ten_repeats_are_one_trigger() -> None:
    found = [drift(f"feature_{number}") for number in range(10)]
    known, decisions = list(fired(drift()).causes), []
    for number in range(1, 11):
        so_far = evidence(*found[:number], known=tuple(known), fired_at=NOW)
        decisions.append(decide(DRIFTING, so_far, XNYS, NOW + timedelta(hours=number)))
        assert isinstance(decisions[-1], Join)
        known += decisions[-1].causes
    assert len(known) == 11


def test_another_trigger_needs_evidence_of_its_own() -> None:
    known, later = fired(drift()).causes, NOW + timedelta(days=70)
    overlapping = evidence(drift("macd_line", end=NOW + timedelta(days=30)), known=known, fired_at=NOW)
    assert decide(DRIFTING, overlapping, XNYS, later) is None
    lasting = evidence(drift(end=NOW + timedelta(days=61)), known=known, fired_at=NOW)
    assert isinstance(decide(DRIFTING, lasting, XNYS, later), Fire)
    # A version that took the place of that one has a record of its own.
    assert isinstance(decide(DRIFTING, replace(overlapping, version=4), XNYS, later), Fire)


def test_a_challenger_that_nothing_triggered_is_waited_for() -> None:
    decision = decide(DRIFTING, evidence(drift(), challenger=True), XNYS, NOW)
    assert isinstance(decision, Wait)
    assert decision.reason.code == "challenger"


def test_quiet_hours_and_the_budget_put_off_what_is_due() -> None:
    quiet = DRIFTING.model_copy(update={"quiet": (Hours(start="09:30", end="16:00"),)})
    decision = decide(quiet, evidence(drift()), XNYS, NOW)
    assert isinstance(decision, Wait)
    assert decision.reason.code == "quiet_hours"
    assert isinstance(decide(quiet, evidence(drift()), XNYS, NOW + timedelta(hours=5)), Fire)
    frugal = DRIFTING.model_copy(update={"trials_per_day": 100})
    spent = decide(frugal, evidence(drift(), trials=60, trials_today=41), XNYS, NOW)
    assert isinstance(spent, Wait)
    assert spent.reason.code == "budget"
    assert isinstance(decide(frugal, evidence(drift(), trials=60, trials_today=40), XNYS, NOW), Fire)


def test_what_a_schedule_names_is_due_until_a_trigger_has_it() -> None:
    policy = Policy(schedule="0 10 * * 1")
    standing = Standing(set_at=NOW - timedelta(days=3), trained_through=NOW)
    (due,) = readings(policy, standing, XNYS, NOW)
    assert (due.figure, due.window_end) == (-1.0, NOW - timedelta(hours=1))
    decision = decide(policy, evidence(due), XNYS, NOW)
    assert isinstance(decision, Fire)
    (told,) = readings(policy, replace(standing, known=decision.causes), XNYS, NOW)
    assert told.figure == 7 * 24 - 1
    assert not fires(policy, told)


def test_a_version_is_as_old_as_the_newest_bar_says_and_told_once() -> None:
    policy = Policy(max_age_days=30.0)
    standing = Standing(set_at=NOW, trained_through=NOW - timedelta(days=31))
    assert [each.figure for each in readings(policy, standing, XNYS, NOW)] == [None]
    (old,) = readings(policy, replace(standing, through=NOW), XNYS, NOW)
    assert old.figure == 31.0
    decision = decide(policy, evidence(old), XNYS, NOW)
    assert isinstance(decision, Fire)
    later = NOW + timedelta(days=29)
    (older,) = readings(policy, replace(standing, through=later), XNYS, later)
    assert decide(policy, evidence(older, known=decision.causes, fired_at=NOW), XNYS, later) is None


def test_performance_is_read_from_the_sessions_that_are_settled() -> None:
    sessions = [NOW + timedelta(days=day) for day in range(61)]
    bleeding = np.random.default_rng(1).normal(-0.006, 0.01, 61)
    account = Account(profit=dict(zip(sessions, bleeding.tolist(), strict=True)), session=sessions[-1])
    standing = Standing(set_at=NOW, trained_through=NOW, verdict=verdict(), account=account)
    policy = Policy(performance=PerformanceRule())
    (reading,) = readings(policy, standing, XNYS, NOW)
    assert (reading.window_start, reading.window_end) == (sessions[0], sessions[-2])
    assert reading.figure is not None
    assert reading.figure < reading.threshold
    assert fires(policy, reading)
    short = replace(account, profit=dict(list(account.profit.items())[1:]))
    (unknown,) = readings(policy, replace(standing, account=short), XNYS, NOW)
    assert unknown.figure is None
    assert not fires(policy, unknown)


def test_of_drift_those_are_told_that_are_nearest_and_of_outliers_each_instrument() -> None:
    assert PROFILE is not None
    first, second = PROFILE.thresholds.tolist()
    window = Window(NOW - timedelta(days=60), NOW, (first / 2, second * 2), 0.25)
    watches = {"AAPL": Watch(newest=NOW, last=window, streaks=(0, 2))}
    standing = Standing(set_at=NOW, trained_through=NOW, profiles={"AAPL": PROFILE, "MSFT": PROFILE}, watches=watches)
    policy = Policy(drift=DriftRule(), outliers=OutlierRule())
    told = readings(policy, standing, XNYS, NOW)
    assert [(each.detector, each.ticker, each.feature, fires(policy, each)) for each in told] == [
        ("drift", "AAPL", "macd_line", True),
        ("drift", "AAPL", "rsi_14", False),
        ("drift", "MSFT", None, False),
        ("outliers", "AAPL", None, True),
    ]
    narrow = Policy(drift=DriftRule(features=("rsi_14",)))
    assert not any(fires(narrow, each) for each in readings(narrow, standing, XNYS, NOW))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"schedule": "61 * * * *"}, "not_a_schedule"),
        ({"schedule": "0 0 30 2 *"}, "not_a_schedule"),
        ({"schedule": "0 0 * * 6"}, "never_due"),
        ({"quiet": ({"start": "08:00", "end": "20:00"}, {"start": "20:00", "end": "08:00"})}, "always_quiet"),
        ({"promotion": {"canary": ("GOOG",)}}, "unknown_ticker"),
        ({"promotion": {"canary": ("AAPL", "MSFT")}}, "no_canary"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(changes: JsonObject, code: str) -> None:
    policy = Policy.model_validate(changes)
    assert code in [reason.code for reason in faults(policy, ("AAPL", "MSFT"), XNYS, NOW)]


def test_a_sound_policy_has_no_faults() -> None:
    policy = Policy.model_validate({"schedule": "30 16 * * 5", "promotion": {"canary": ("AAPL",)}})
    assert faults(policy, ("AAPL", "MSFT"), XNYS, NOW) == ()
