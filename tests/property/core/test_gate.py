import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.gate import Evidence, judge

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
        variance=draw(st.floats(0, 0.01)),
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
