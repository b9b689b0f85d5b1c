"""The worked examples of the specification."""

import numpy as np
import pytest

from serving.voting import expected_return, majority, member_votes, soft


def test_the_specification_s_soft_example_is_1_03_over_3_5() -> None:
    strength, confidence = np.array([[0.8, -0.3, 0.5, 0.2, -0.1]]), np.array([[0.9, 0.6, 0.8, 0.7, 0.5]])
    assert soft(strength, confidence, np.ones(5)) == pytest.approx(1.03 / 3.5)


def test_three_who_buy_beat_two_who_sell_with_a_confidence_of_60_percent() -> None:
    score, confidence = majority(np.array([[1, -1, 1, 1, -1]], dtype=np.int8), np.ones(5))
    assert (score.item(), confidence.item()) == (0.6, 0.6)


@pytest.mark.parametrize(
    ("votes", "score", "confidence"),
    [
        ([1, -1, 1, -1], 0.0, 0.0),
        ([1, 0, 1, 0], 0.0, 0.5),
        ([0, 0, -1, 1, 0], 0.0, 0.6),
        ([-1, -1, -1], -1.0, 1.0),
        ([1, 1, 0, 0, -1], 0.0, 0.4),
    ],
)
def test_a_tie_is_hold_and_the_confidence_is_the_share_of_those_who_said_so(
    votes: list[int], score: float, confidence: float
) -> None:
    found = majority(np.array([votes], dtype=np.int8), np.ones(len(votes)))
    assert [value.item() for value in found] == pytest.approx([score, confidence])


def test_a_prediction_within_the_least_edge_is_hold() -> None:
    votes = member_votes(np.array([[0.0011, 0.0009, -0.0009, -0.0011, 0.0, np.nan]]), min_edge_bps=10)
    assert votes.tolist() == [[1, 0, 0, -1, 0, 0]]


def test_without_a_least_edge_every_prediction_but_0_takes_a_side() -> None:
    assert member_votes(np.array([[1e-12, 0.0, -1e-12]]), min_edge_bps=0).tolist() == [[1, 0, -1]]


def test_the_expected_return_listens_more_to_those_who_are_right_more_often() -> None:
    expected = expected_return(np.array([[0.01, -0.01]]), np.array([[0.75, 0.25]]), np.ones(2))
    assert expected.item() == pytest.approx(0.005)
