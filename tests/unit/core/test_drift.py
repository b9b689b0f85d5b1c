from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.calendar import calendar_named
from orchestrator.core.drift import BINS, Profile, Watch, profile_of, stability_index, window_bars

NAMES = ("calm", "restless")
FIRST = datetime(2024, 1, 2, 21, tzinfo=UTC)
RNG = np.random.default_rng(7)
TRAINING = RNG.normal(size=(2000, 2))


def profile(window: int = 60) -> Profile:
    found = profile_of(TRAINING, NAMES, window)
    assert found is not None
    return found


def days(count: int, first: int = 0) -> Times:
    return np.datetime64("2024-01-02T21:00", "us") + np.arange(first, first + count) * np.timedelta64(1, "D")


def shifted(count: int) -> Floats:
    return np.random.default_rng(3).normal([2.0, 0.0], size=(count, 2))


def test_the_index_is_that_of_the_textbook_where_nothing_is_smoothed() -> None:
    shares, counts = np.array([0.5, 0.3, 0.2]), np.array([30_000_000, 50_000_000, 20_000_000])
    expected = (0.3 - 0.5) * np.log(0.3 / 0.5) + (0.5 - 0.3) * np.log(0.5 / 0.3)
    assert stability_index(counts, shares) == pytest.approx(expected, rel=1e-6)


def test_a_window_like_training_is_below_the_thresholds_and_a_shifted_one_above() -> None:
    known = profile()
    watch, windows = known.watch(Watch(), days(120), shifted(120))
    assert [(each.start, each.end) for each in windows] == [
        (FIRST, FIRST + timedelta(days=59)),
        (FIRST + timedelta(days=60), FIRST + timedelta(days=119)),
    ]
    assert windows[0].psi[0] > known.thresholds[0] > known.thresholds[1] / 2 > windows[0].psi[1] / 2
    assert watch.streaks == (2, 0)
    assert watch.last == windows[-1]
    assert (watch.start, watch.counts, watch.newest) == (None, (), windows[-1].end)


def test_a_streak_ends_with_a_window_like_training() -> None:
    watch, _ = profile().watch(Watch(), days(60), shifted(60))
    assert watch.streaks == (1, 0)
    watch, _ = profile().watch(watch, days(60, 60), TRAINING[:60])
    assert watch.streaks == (0, 0)


def test_bars_that_are_late_repeated_or_revised_are_passed_over() -> None:
    known, times, rows = profile(), days(90), shifted(90)
    places = [*range(50), 49, 49, 3, *range(40, 90), 89]
    disordered = known.watch(Watch(), times[places], rows[places])
    assert disordered == known.watch(Watch(), times, rows)
    again, windows = known.watch(disordered[0], times, rows)
    assert (again, windows) == (disordered[0], [])


def test_what_is_not_known_has_a_bin_of_its_own_and_is_never_outside() -> None:
    known, rows = profile(), np.full((60, 2), np.nan)
    watch, (window,) = known.watch(Watch(), days(60), rows)
    assert watch.streaks == (1, 1)
    assert window.outliers == 0.0
    partly, _ = known.watch(Watch(), days(10), rows[:10])
    assert partly.counts == ((0,) * BINS + (10,),) * 2


def test_bars_with_any_feature_far_outside_training_are_outliers() -> None:
    rows = TRAINING[:60].copy()
    rows[:15, 1] = 100.0
    rows[10:20, 0] = -np.inf
    _, (window,) = profile().watch(Watch(), days(60), rows)
    assert window.outliers == pytest.approx(20 / 60)


def test_a_profile_is_read_as_it_was_written() -> None:
    known = profile()
    read = Profile.load(known.dump())
    assert read.dump() == known.dump()
    assert read.watch(Watch(), days(130), shifted(130)) == known.watch(Watch(), days(130), shifted(130))


def test_training_is_told_without_its_warm_up_and_with_its_gaps() -> None:
    rows = np.concatenate([np.full((500, 2), np.nan), TRAINING])
    assert profile_of(rows, NAMES, 60) is not None
    np.testing.assert_array_equal(profile().shares, profile_of(rows, NAMES, 60).shares)  # type: ignore[union-attr]
    rows[700::10, 1] = np.nan
    known = profile_of(rows, NAMES, 60)
    assert known is not None
    assert known.shares[1, BINS] == pytest.approx(0.09, abs=0.005)
    assert known.shares.sum(axis=1) == pytest.approx(1.0)


def test_windows_are_shorter_where_training_is_and_few_rows_have_no_profile() -> None:
    shorter = profile_of(TRAINING[:800], NAMES, 60)
    assert shorter is not None
    assert shorter.window == 40
    assert profile_of(TRAINING[:600], NAMES, 60) is None
    assert profile_of(np.full((2000, 2), np.nan), NAMES, 60) is None


def test_the_more_is_watched_the_higher_the_thresholds() -> None:
    many = profile_of(TRAINING, NAMES, 60, instruments=1000)
    assert many is not None
    assert (many.thresholds > profile().thresholds).all()


def test_a_feature_that_never_moved_is_above_its_threshold_as_soon_as_it_does() -> None:
    rows = np.column_stack([np.full(2000, 3.0), TRAINING[:, 0]])
    known = profile_of(rows, NAMES, 60)
    assert known is not None
    assert known.watch(Watch(), days(60), rows[:60])[0].streaks == (0, 0)
    moved = np.column_stack([np.full(60, 4.0), TRAINING[:60, 0]])
    watch, (window,) = known.watch(Watch(), days(60), moved)
    assert watch.streaks == (1, 0)
    assert window.outliers == 1.0


def test_the_largest_numbers_have_a_profile_that_can_be_written() -> None:
    found = profile_of(TRAINING * 2e307, NAMES, 60)
    assert found is not None
    assert Profile.load(found.dump()).dump() == found.dump()


def test_a_window_is_of_so_many_days_or_of_whole_sessions() -> None:
    exchange, always = calendar_named(), calendar_named("24/7")
    assert [window_bars(each, exchange) for each in ("1d", "1w", "5m", "1h")] == [60, 60, 5 * 78, 60]
    assert window_bars("1h", always) == 120
