from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.gate import Evidence, Span, judge, look_number, required_of_look

MODES = st.sampled_from(["live", "replay", "shadow", "paper"])


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drift = draw(st.floats(-0.3, 0.6))
    sessions = draw(st.integers(0, 300))
    looks = draw(st.integers(0, 5))
    return Evidence(
        profit=random.normal(drift, 1, sessions),
        active=random.normal(drift, 1, sessions),
        sessions_per_year=252,
        trials=draw(st.integers(0, 1000)),
        benchmark=draw(st.floats(0, 0.2)),
        active_benchmark=draw(st.floats(0, 0.2)),
        holdout=random.normal(drift, 1, 60) if looks else None,
        looks=looks,
    )


@given(evidence(), MODES, st.booleans(), st.sampled_from(["forbid", "paper", "live"]))
def test_nothing_that_failed_goes_live_unless_the_service_and_the_request_say_so(
    seen: Evidence, mode: str, gated: bool, override: str
) -> None:
    decision = judge(seen, mode=mode, gated=gated, override=override)  # type: ignore[arg-type]
    verdict = decision.verdict
    assert verdict.passed == (not verdict.reasons)
    assert decision.mode in (None, mode, "paper")
    if verdict.passed:
        assert decision.mode == mode
    elif decision.mode == "live":
        assert not gated
        assert override == "live"
    if verdict.passed:
        figures = (verdict.deflated_sharpe, verdict.active_deflated_sharpe)
        assert all(figure is not None and figure >= verdict.required for figure in figures)


@given(evidence())
def test_every_failing_figure_has_one_reason(seen: Evidence) -> None:
    verdict = judge(seen, mode="live").verdict
    assert len({reason.where for reason in verdict.reasons}) == len(verdict.reasons) <= 3


START = datetime(2020, 1, 1, 21, tzinfo=UTC)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """A few days of a few months, so that many overlap or touch."""
    first = draw(st.integers(0, 60))
    return Span(START + timedelta(days=first), START + timedelta(days=first + draw(st.integers(0, 20))))


def days(span: Span) -> set[datetime]:
    return {span.start + timedelta(days=day) for day in range((span.end - span.start).days + 1)}


@given(spans(), st.lists(spans(), max_size=8), st.randoms(use_true_random=False))
def test_a_look_s_number_counts_the_earlier_looks_that_share_a_day_in_any_order(
    span: Span, earlier: list[Span], random: Random
) -> None:
    number = look_number(span, earlier)
    assert number == 1 + sum(bool(days(span) & days(other)) for other in earlier)
    random.shuffle(earlier)
    assert look_number(span, earlier) == number


@given(spans(), spans())
def test_overlapping_is_mutual_and_a_wider_span_overlaps_no_less(one: Span, other: Span) -> None:
    assert one.overlaps(other) == other.overlaps(one)
    assert one.overlaps(one)
    wider = Span(one.start - timedelta(days=1), one.end + timedelta(days=1))
    assert wider.overlaps(other) >= one.overlaps(other)


@given(st.integers(1, 10_000))
def test_a_later_look_needs_more_and_never_certainty(look: int) -> None:
    assert required_of_look(look) < required_of_look(look + 1) < 1
