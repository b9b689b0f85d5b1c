"""Rolled forward bar by bar, a calibration is what the whole series gives in one go."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.position import drawn_in, without_edge
from orchestrator.core.strength import calibrated
from serving.calibration import Reliability, TickerCalibration
from serving.rolling import MOST_VALUES, Past, Rolling, Worth, load_rolling, window_of

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
FIRST = datetime(2026, 1, 14, tzinfo=UTC)
WINDOW = 3
SEED = "0123456789abcdef"

raws = st.sampled_from([-0.5, 0.0, 0.25]) | st.floats(-1, 1)
bars = st.lists(raws, min_size=1, max_size=3)
"""The revisions of a bar."""
histories = st.lists(st.lists(bars, max_size=6), max_size=7)
"""Sessions, which may be empty."""


def begun(window: int = WINDOW) -> Rolling:
    return Rolling(Past(SEED, window), FIRST)


def live(rolling: Rolling, session: int, said: list[list[float]], *, first: int = 0) -> Rolling:
    """A session's bars from the first of them on, revision by revision."""
    close = FIRST + session * DAY
    for bar, revisions in enumerate(said[first:], first):
        for raw in revisions:
            rolling = rolling.at(close).with_vote(close - DAY + (bar + 1) * MINUTE, raw)
    return rolling


@given(histories, raws, st.floats(-1, 1))
def test_what_is_rolled_bar_by_bar_is_what_the_whole_series_gives_in_one_go(
    history: list[list[list[float]]], raw: float, seeded: float
) -> None:
    rolling = begun()
    for session, said in enumerate(history):
        rolling = live(rolling, session, said)
    past = rolling.at(FIRST + len(history) * DAY).past
    sessions = [[revisions[-1] for revisions in said] for said in history if said][-WINDOW:]
    expected = seeded
    if sessions:
        (rank,) = calibrated(np.array([raw]), np.sort(np.concatenate(sessions))).tolist()
        expected = (1 - len(sessions) / WINDOW) * seeded + len(sessions) / WINDOW * rank
    assert past.score(raw, seeded) == pytest.approx(expected, abs=1e-12)
    assert len(past.sessions) == len(sessions)


@given(histories, st.lists(bars, min_size=1, max_size=6))
def test_within_a_session_nothing_changes_and_the_next_one_has_another_calibration(
    history: list[list[list[float]]], said: list[list[float]]
) -> None:
    rolling = begun()
    for session, each in enumerate(history):
        rolling = live(rolling, session, each)
    opened = rolling.at(FIRST + len(history) * DAY)
    after = live(opened, len(history), said)
    assert after.past is opened.past
    following = after.at(after.close + DAY).past
    assert len({SEED, following.calibration_id}) == 2
    assert (following.calibration_id == opened.past.calibration_id) == (following == opened.past)


@given(st.lists(st.lists(bars, min_size=1, max_size=3), min_size=WINDOW, max_size=7), raws)
def test_after_as_many_sessions_as_count_nothing_is_left_of_the_seed(
    history: list[list[list[float]]], raw: float
) -> None:
    rolling = begun()
    for session, said in enumerate(history):
        rolling = live(rolling, session, said)
    past = rolling.at(FIRST + len(history) * DAY).past
    assert past.score(raw, -1.0) == past.score(raw, 1.0)
    assert -1 <= past.score(raw, 1.0) <= 1


@given(histories, st.integers(0, 7))
def test_written_down_and_read_again_at_any_moment_it_goes_on_alike(
    history: list[list[list[float]]], broken_off: int
) -> None:
    whole = cut = begun(window_of("1h"))
    for session, said in enumerate(history):
        whole = live(whole, session, said)
        half = len(said) // 2
        cut = live(cut, session, said[:half])
        if session == broken_off:
            cut = load_rolling(SEED, "1h", cut.dump())
        cut = live(cut, session, said, first=half)
    assert cut == whole
    assert cut.past.calibration_id == whole.past.calibration_id


@pytest.mark.parametrize(("bars", "step"), [(1, 1), (128, 1), (129, 2), (256, 2), (257, 4), (390, 4), (1000, 8)])
def test_of_a_long_session_as_many_bars_are_kept_as_are_allowed_at_equal_distances(bars: int, step: int) -> None:
    rolling = live(begun(), 0, [[-1.0, number / 1000] for number in range(bars)])
    assert rolling.values == tuple(number / 1000 for number in range(0, bars, step))
    assert (rolling.bars, len(rolling.values) <= MOST_VALUES) == (bars, True)


@pytest.mark.parametrize(("timeframe", "window"), [("1m", 20), ("1h", 20), ("1d", 250), ("1w", 250)])
def test_bars_of_days_roll_over_a_year_and_shorter_ones_over_a_month(timeframe: str, window: int) -> None:
    rolling = begun(window_of(timeframe))
    for session in range(260):
        rolling = live(rolling, session, [[session / 260]])
    past = load_rolling(SEED, timeframe, rolling.dump()).past
    assert past == rolling.past
    assert len(past.sessions) == window
    assert past.score(1.0, -1.0) == 1.0


@given(st.data())
def test_what_is_cut_off_is_no_calibration(data: st.DataObject) -> None:
    dumped = live(begun().at(FIRST).with_vote(FIRST, 0.5), 1, [[0.1], [0.2]]).dump()
    with pytest.raises(ValueError, match="no calibration"):
        load_rolling(SEED, "1h", dumped[: data.draw(st.integers(0, len(dumped) - 1))])


knots = st.lists(st.floats(0, 1, width=16), min_size=1, max_size=6, unique=True).map(sorted)


@given(knots, st.data(), raws, st.floats(-0.01, 0.01), st.sampled_from([0.0, 0.001]))
def test_one_score_is_judged_as_arrays_of_them_are(
    strength: list[float], data: st.DataObject, score: float, expected: float, cost: float
) -> None:
    chance = data.draw(st.lists(st.floats(0.01, 1), min_size=len(strength), max_size=len(strength)))
    one = np.array([score])
    curve = TickerCalibration((), reliability=Reliability(np.array(strength), np.array(chance)))
    (known,) = curve.chance(one).tolist()
    said = Worth(cost, tuple(strength), tuple(chance)).chance_at(score)
    assert said == pytest.approx(known, abs=1e-12) if said is not None else np.isnan(known)
    assert Worth(cost).chance_at(score) is None
    (drawn,) = without_edge(one, np.array([expected]), threshold=0.3, cost=cost).tolist()
    assert drawn_in(score, expected, threshold=0.3, cost=cost) == drawn
