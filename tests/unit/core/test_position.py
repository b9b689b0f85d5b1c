import math

import numpy as np
import pytest

from orchestrator.core.position import position, positions, without_edge


@pytest.mark.parametrize(
    ("score", "previous", "expected"),
    [
        (0.8, 0, 1),
        (0.8, -1, 1),
        (-0.8, 1, -1),
        (0.7, 0, 0),
        (0.5, 1, 1),
        (0.5, 0, 0),
        (0.5, -1, 0),
        (0.3, 1, 0),
        (-0.5, 1, 0),
        (-0.5, -1, -1),
        (math.nan, -1, -1),
        (math.nan, 0, 0),
    ],
)
def test_a_position_is_entered_beyond_one_threshold_and_left_within_the_other(
    score: float, previous: int, expected: int
) -> None:
    assert position(score, previous, threshold=0.7, exit_threshold=0.35) == expected


def test_flat_overrules_the_score() -> None:
    assert position(0.9, 1, threshold=0.7, exit_threshold=0.35, flat=True) == 0
    assert position(math.nan, 1, threshold=0.7, exit_threshold=0.35, flat=True) == 0


def test_after_a_flat_bar_a_position_must_be_entered_anew() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.9])
    flat = np.array([False, False, True, False, False])
    assert positions(scores, threshold=0.7, exit_threshold=0.35, flat=flat).tolist() == [1, 1, 0, 0, 1]


def test_what_is_expected_must_pay_in_the_direction_of_the_score() -> None:
    drawn_in = without_edge(np.array([-0.9, 0.9]), np.array([0.01, -0.01]), threshold=0.7, cost=0.0002)
    assert drawn_in.tolist() == [-0.7, 0.7]


def test_without_an_edge_nothing_is_entered_and_what_is_held_may_be_kept() -> None:
    scores = np.array([0.9, 0.9, -0.9, 0.2])
    drawn_in = without_edge(scores, np.array([0.01, 0.0001, -0.0001, 0.0001]), threshold=0.7, cost=0.0002)
    assert drawn_in.tolist() == [0.9, 0.7, -0.7, 0.2]
    assert positions(drawn_in[:2], threshold=0.7, exit_threshold=0.35).tolist() == [1, 1]
    assert positions(drawn_in[1:2], threshold=0.7, exit_threshold=0.35).tolist() == [0]
