import numpy as np
import pytest
from numpy.testing import assert_allclose

from orchestrator.core.strength import calibrated, signed_rank


def test_strength_is_the_share_of_past_magnitudes_below_with_ties_counted_half() -> None:
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    strengths = signed_rank(np.array([-2.0, 0.0, 0.5, 4.0, 9.0, np.nan]), reference)
    assert_allclose(strengths, [-0.375, 0.0, 0.0, 0.875, 1.0, np.nan])


def test_ties_count_half_on_either_side_of_the_score() -> None:
    reference = np.array([-1.0, 0.0, 0.0, 1.0])
    scores = calibrated(np.array([-2.0, 0.0, 0.5, 1.0, 2.0, np.nan]), reference)
    assert_allclose(scores, [-1.0, 0.0, 0.5, 0.75, 1.0, np.nan])


def test_a_reference_that_is_empty_or_unsorted_is_an_error() -> None:
    for reference in (np.array([]), np.array([2.0, 1.0])):
        with pytest.raises(ValueError, match="ascend"):
            signed_rank(np.zeros(1), reference)
        with pytest.raises(ValueError, match="ascend"):
            calibrated(np.zeros(1), reference)
