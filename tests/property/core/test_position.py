import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.position import position, positions

# A coarse grid meets the thresholds exactly, which is where the rules touch.
score = st.one_of(
    st.sampled_from([-1, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1]), st.floats(-1, 1), st.just(math.nan)
)
threshold = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
bars = st.lists(st.tuples(score, st.booleans()), max_size=60)


@given(bars, threshold, threshold, st.sampled_from([-1, 0, 1]))
def test_the_whole_history_is_the_rule_applied_bar_after_bar(
    history: list[tuple[float, bool]], entry: float, leave: float, initial: int
) -> None:
    scores, flat = np.array([one for one, _ in history]), np.array([is_flat for _, is_flat in history], dtype=bool)
    held, expected = initial, []
    for one, is_flat in history:
        held = position(one, held, threshold=entry, exit_threshold=leave, flat=is_flat)
        expected.append(held)
    found = positions(scores, threshold=entry, exit_threshold=leave, flat=flat, initial=initial)
    assert found.tolist() == expected
    assert found.dtype == np.int8


@given(bars, threshold, threshold)
def test_the_opposite_scores_give_the_opposite_positions(
    history: list[tuple[float, bool]], entry: float, leave: float
) -> None:
    scores = np.array([one for one, _ in history])
    found = positions(scores, threshold=entry, exit_threshold=leave)
    assert positions(-scores, threshold=entry, exit_threshold=leave).tolist() == (-found).tolist()


@given(bars, bars, threshold, threshold)
def test_the_future_does_not_change_a_position(
    past: list[tuple[float, bool]], future: list[tuple[float, bool]], entry: float, leave: float
) -> None:
    scores = np.array([one for one, _ in past + future])
    whole = positions(scores, threshold=entry, exit_threshold=leave)
    assert positions(scores[: len(past)], threshold=entry, exit_threshold=leave).tolist() == whole[: len(past)].tolist()
