from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from orchestrator.core.deflation import Moments, expected_maximum, moments, psr
from orchestrator.core.gate import Evidence, Override, Span, judge, look_number, required_of_look
from schemas.base import Mode

NOISE = np.random.default_rng(4).normal(0, 0.01, 1000)
GOOD, BAD = NOISE + 0.0015, NOISE
LUCK = expected_maximum(20, 0.0005)
EVIDENCE = Evidence(profit=GOOD, active=GOOD, sessions_per_year=252, trials=20, benchmark=LUCK, active_benchmark=LUCK)


def known(profit: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Moments:
    found = moments(profit)
    assert found is not None
    return found


def test_skill_passes_in_the_mode_asked_for() -> None:
    decision = judge(EVIDENCE, mode="live")
    assert decision.mode == "live"
    verdict = decision.verdict
    assert verdict.passed
    assert verdict.reasons == ()
    assert verdict.deflated_sharpe == psr(known(GOOD), LUCK)
    assert verdict.benchmark_sharpe == LUCK
    assert verdict.sharpe_ratio == pytest.approx(known(GOOD).sharpe * np.sqrt(252))
    assert (verdict.trials, verdict.sessions, verdict.looks, verdict.required) == (20, 1000, 0, 0.95)
    assert not verdict.overridden


def test_what_many_trials_would_show_by_luck_is_refused() -> None:
    much = expected_maximum(10_000, 0.01)
    decision = judge(replace(EVIDENCE, trials=10_000, benchmark=much, active_benchmark=much), mode="live")
    assert decision.mode is None
    assert [(reason.code, reason.where) for reason in decision.verdict.reasons] == [
        ("below_required", "deflated_sharpe"),
        ("below_required", "active_deflated_sharpe"),
    ]


def test_merely_being_long_is_refused() -> None:
    decision = judge(replace(EVIDENCE, active=BAD), mode="live")
    assert [reason.where for reason in decision.verdict.reasons] == ["active_deflated_sharpe"]
    nothing = judge(replace(EVIDENCE, active=np.zeros(1000)), mode="live")
    assert [reason.code for reason in nothing.verdict.reasons] == ["not_defined"]
    assert nothing.verdict.active_deflated_sharpe is None


def test_a_reason_names_the_figure_its_value_and_what_is_required() -> None:
    (reason,) = judge(replace(EVIDENCE, active=BAD), mode="live").verdict.reasons
    value = psr(known(BAD), LUCK)
    assert f"is {value:.4f}, at least 0.95 is required" in reason.message
    assert "over 1000 sessions" in reason.message
    assert "best of 20 by luck" in reason.message


def test_each_part_is_held_against_the_luck_of_its_own() -> None:
    decision = judge(replace(EVIDENCE, active_benchmark=0.5), mode="live")
    assert [reason.where for reason in decision.verdict.reasons] == ["active_deflated_sharpe"]
    assert "best of 20 by luck: Sharpe ratio 7.94" in decision.verdict.reasons[0].message


def day(number: int) -> datetime:
    return datetime(2026, 1, number, 21, tzinfo=UTC)


def test_a_look_comes_after_those_at_spans_that_overlap() -> None:
    span = Span(day(10), day(20))
    assert look_number(span, []) == 1
    apart = [Span(day(1), day(9)), Span(day(21), day(30))]
    assert look_number(span, apart) == 1
    overlapping = [Span(day(1), day(10)), Span(day(20), day(21)), Span(day(12), day(13)), Span(day(1), day(30)), span]
    assert look_number(span, [*apart, *overlapping]) == 6


def test_each_look_at_a_holdout_asks_for_more() -> None:
    assert required_of_look(1) == pytest.approx(0.975)
    assert required_of_look(2) == pytest.approx(1 - 0.05 / 6)
    assert sum(1 - required_of_look(look) for look in range(1, 5000)) == pytest.approx(0.05, rel=1e-3)
    noise = np.random.default_rng(8).normal(size=160)
    holdout = (noise - noise.mean()) / noise.std() + 0.1745
    first = judge(replace(EVIDENCE, holdout=holdout, looks=1), mode="live")
    fourth = judge(replace(EVIDENCE, holdout=holdout, looks=4), mode="live")
    assert first.verdict.passed
    assert not fourth.verdict.passed
    assert first.verdict.holdout_psr == fourth.verdict.holdout_psr
    (reason,) = fourth.verdict.reasons
    assert reason.where == "holdout_psr"
    assert "look 4" in reason.message


def test_a_holdout_without_profit_fails_and_looks_must_be_counted() -> None:
    decision = judge(replace(EVIDENCE, holdout=np.zeros(50), looks=1), mode="live")
    assert [reason.code for reason in decision.verdict.reasons] == ["not_defined"]
    with pytest.raises(ValueError, match="counted from 1"):
        judge(replace(EVIDENCE, holdout=GOOD), mode="live")


@pytest.mark.parametrize(
    ("gated", "override", "mode", "expected"),
    [
        (True, "live", "live", None),
        (True, "live", "paper", None),
        (False, "forbid", "live", None),
        (False, "forbid", "shadow", None),
        (False, "paper", "live", "paper"),
        (False, "paper", "shadow", "shadow"),
        (False, "paper", "replay", "replay"),
        (False, "live", "live", "live"),
    ],
)
def test_a_request_that_turns_the_gate_off_may_do_what_the_service_allows(
    gated: bool, override: Override, mode: Mode, expected: Mode | None
) -> None:
    decision = judge(replace(EVIDENCE, profit=BAD), mode=mode, gated=gated, override=override)
    assert decision.mode == expected
    assert decision.verdict.overridden == (expected is not None)
    assert not decision.verdict.passed


def test_what_passes_needs_no_override() -> None:
    decision = judge(EVIDENCE, mode="live", gated=False, override="paper")
    assert decision.mode == "live"
    assert not decision.verdict.overridden
