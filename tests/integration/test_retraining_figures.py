"""The benchmark's figures on a few seeds: that rules fire once and for a reason, and noise is not promoted."""

import pytest

from benchmarks.retraining import NOTHING, REPEATED, SHIFTS, lived, weekly

pytestmark = pytest.mark.slow


def test_a_year_in_which_nothing_changes_asks_for_nothing() -> None:
    assert lived(NOTHING, 0).fired == ()


def test_a_shift_asks_for_one_search_and_its_repeats_join() -> None:
    year = lived(REPEATED, 0)
    assert len(year.fired) == 1
    assert year.joined >= 10
    assert lived(SHIFTS["mean + 1 deviation"], 0).fired[0] == 120


def test_noise_is_not_promoted_and_what_is_much_better_is() -> None:
    noise = weekly(0)
    assert noise.challengers >= 4
    assert noise.promoted == ()
    assert weekly(0, skill=12.0).promoted
