import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.diversity import effective_votes

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 8), st.floats(0, 1), st.integers(0, 5))
def test_votes_are_between_one_and_the_members_whoever_comes_first(
    seed: int, members: int, alike: float, gaps: int
) -> None:
    random = np.random.default_rng(seed)
    predictions = random.normal(size=(members, 40)) + alike * 3 * random.normal(size=40)
    predictions[random.integers(0, members, gaps), random.integers(0, 40, gaps)] = np.nan
    found = effective_votes(list(predictions))
    assert 1 - 1e-9 <= found <= members + 1e-9
    shuffled = effective_votes(list(predictions[random.permutation(members)]))
    assert shuffled == pytest.approx(found)


@given(seeds, st.integers(1, 8))
def test_orthogonal_members_are_all_their_own(seed: int, members: int) -> None:
    random = np.random.default_rng(seed)
    # Columns of Q are orthogonal to each other, and to the first, which is constant.
    basis, _ = np.linalg.qr(np.column_stack([np.ones(20), random.normal(size=(20, members))]))
    assert effective_votes(list(basis.T[1:])) == pytest.approx(members)


@given(seeds, st.integers(1, 8))
def test_clones_are_one_whatever_their_scale_and_offset(seed: int, members: int) -> None:
    random = np.random.default_rng(seed)
    prediction = random.normal(size=30)
    clones = [random.uniform(0.1, 10) * prediction + random.normal() for _ in range(members)]
    assert effective_votes(clones) == pytest.approx(1.0)


@given(seeds, st.integers(1, 6))
def test_another_member_of_the_same_opinion_is_no_further_vote(seed: int, members: int) -> None:
    predictions = list(np.random.default_rng(seed).normal(size=(members, 30)))
    assert effective_votes(predictions + predictions) == pytest.approx(effective_votes(predictions))
