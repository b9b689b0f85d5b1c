import numpy as np
import pytest

from orchestrator.core.diversity import direction, effective_votes

ONE, OTHER = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])


def test_two_members_that_correlate_by_r_are_two_over_one_plus_r_squared_votes() -> None:
    blend = 0.6 * ONE + 0.8 * OTHER
    assert effective_votes([ONE, blend]) == pytest.approx(2 / (1 + 0.6**2))


def test_two_pairs_of_clones_are_two_votes() -> None:
    assert effective_votes([ONE, ONE, OTHER, 3 * OTHER + 1]) == pytest.approx(2.0)


def test_who_always_contradicts_says_nothing_of_his_own() -> None:
    assert effective_votes([ONE, -ONE]) == pytest.approx(1.0)


def test_who_always_says_the_same_has_no_vote() -> None:
    assert effective_votes([ONE, np.full(4, 0.1), np.full(4, np.nan)]) == pytest.approx(1.0)
    assert effective_votes([np.full(4, 0.1)]) == effective_votes([]) == 0.0


def test_a_direction_is_about_the_mean_and_of_length_one() -> None:
    found = direction(np.array([3.0, np.nan, 1.0]))
    np.testing.assert_allclose(found, [np.sqrt(0.5), 0.0, -np.sqrt(0.5)])
    assert not direction(np.full(1000, 0.1)).any()
