from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.core.arrays import Floats, Positions
from serving.voting import majority, member_votes, soft

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7))


@st.composite
def opinions(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Strengths (n, m), confidences (n, m) and weights (m,)."""
    shape = draw(SHAPES)
    strength = draw(arrays(np.float64, shape, elements=st.floats(-1, 1)))
    confidence = draw(arrays(np.float64, shape, elements=st.floats(0.01, 1)))
    return strength, confidence, draw(arrays(np.float64, shape[1], elements=st.floats(0.1, 10)))


@st.composite
def ballots(draw: st.DrawFn) -> Positions:
    """Votes (n, m)."""
    return draw(arrays(np.int8, draw(SHAPES), elements=st.integers(-1, 1)))


@given(opinions(), st.randoms())
def test_a_soft_vote_is_free_of_order(made: tuple[Floats, Floats, Floats], random: Random) -> None:
    strength, confidence, weight = made
    order = list(range(len(weight)))
    random.shuffle(order)
    assert soft(strength[:, order], confidence[:, order], weight[order]) == pytest.approx(
        soft(strength, confidence, weight), abs=1e-12
    )


@given(opinions())
def test_a_soft_vote_lies_between_the_members_and_turns_with_them(made: tuple[Floats, Floats, Floats]) -> None:
    strength, confidence, weight = made
    mean = soft(strength, confidence, weight)
    assert (mean >= strength.min(axis=1) - 1e-12).all()
    assert (mean <= strength.max(axis=1) + 1e-12).all()
    assert soft(-strength, confidence, weight).tolist() == (-mean).tolist()


@given(opinions(), st.floats(0, 2), st.integers(0, 100))
def test_a_member_that_says_more_never_lowers_a_soft_vote(
    made: tuple[Floats, Floats, Floats], more: float, which: int
) -> None:
    strength, confidence, weight = made
    raised = strength.copy()
    raised[:, which % len(weight)] += more
    assert (soft(raised, confidence, weight) >= soft(strength, confidence, weight) - 1e-12).all()


@given(opinions())
def test_a_row_of_a_soft_vote_does_not_depend_on_the_rows_beside_it(made: tuple[Floats, Floats, Floats]) -> None:
    strength, confidence, weight = made
    alone = [soft(strength[row : row + 1], confidence[row : row + 1], weight).item() for row in range(len(strength))]
    assert soft(strength, confidence, weight).tolist() == alone


@given(ballots(), st.randoms())
def test_a_majority_is_free_of_order(votes: Positions, random: Random) -> None:
    order = list(range(votes.shape[1]))
    random.shuffle(order)
    weight = np.ones(len(order))
    for found, expected in zip(majority(votes[:, order], weight), majority(votes, weight), strict=True):
        assert found.tolist() == expected.tolist()


@given(ballots())
def test_a_majority_turns_with_its_members(votes: Positions) -> None:
    weight = np.ones(votes.shape[1])
    score, confidence = majority(votes, weight)
    turned, same = majority((-votes).astype(np.int8), weight)
    assert turned.tolist() == (-score).tolist()
    assert same.tolist() == confidence.tolist()


@given(ballots())
def test_a_side_wins_only_with_more_votes_than_each_other_answer(votes: Positions) -> None:
    for row, score, confidence in zip(votes, *majority(votes, np.ones(votes.shape[1])), strict=True):
        counts = {side: int(np.count_nonzero(row == side)) for side in (-1, 0, 1)}
        best = max(counts.values())
        winners = [side for side, count in counts.items() if count == best]
        decided = winners[0] if len(winners) == 1 else 0
        assert np.sign(score) == decided
        assert confidence == pytest.approx(counts[decided] / len(row))


@given(st.integers(1, 9), st.sampled_from([-1, 1]))
def test_a_unanimous_vote_is_certain(members: int, side: int) -> None:
    score, confidence = majority(np.full((1, members), side, dtype=np.int8), np.ones(members))
    assert (score.item(), confidence.item()) == (side, 1.0)


@given(arrays(np.float64, SHAPES, elements=st.floats(-1, 1)), st.floats(0, 500))
def test_a_larger_least_edge_only_turns_votes_to_hold(prediction: Floats, least: float) -> None:
    free, held = member_votes(prediction, 0), member_votes(prediction, least)
    assert ((held == 0) | (held == free)).all()
    assert (np.abs(prediction[held != 0]) * 10_000 >= least * (1 - 1e-12)).all()
