from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import ALWAYS_OPEN, calendar_named
from orchestrator.core.dataset import Terms, prepare
from orchestrator.core.errors import Refused

START = np.datetime64("2024-07-01T12:00", "us")
CALENDAR = calendar_named(ALWAYS_OPEN)


def bars(opens: Floats, closes: Floats) -> Bars:
    """Bars of four hours: six to a session."""
    count = len(closes)
    event_time = START + np.arange(count) * np.timedelta64(4, "h").astype("timedelta64[us]")
    return Bars("BTC", "4h", event_time, closes, ("a",), np.zeros((count, 1)), "0" * 64, open=opens)


terms = st.builds(
    Terms,
    transform=st.sampled_from(["log_return", "return"]),
    horizon=st.integers(1, 4),
    execution=st.sampled_from(["next_open", "next_close", "same_close"]),
    session_policy=st.sampled_from(["hold", "flat_at_close"]),
)
prices = st.lists(st.floats(1, 1000), min_size=12, max_size=40).map(np.array)


@given(prices, st.integers(0, 2**32 - 1), terms, st.data())
def test_a_label_uses_nothing_after_its_end(closes: Floats, seed: int, asked: Terms, data: st.DataObject) -> None:
    opens = closes * np.exp(np.random.default_rng(seed).normal(0, 0.01, len(closes)))
    try:
        whole = prepare(bars(opens, closes), asked, CALENDAR)
    except Refused:
        return
    cut = data.draw(st.integers(1, len(closes) - 1))
    later = np.where(np.arange(len(closes)) > cut, 7.0, 1.0)
    changed = prepare(bars(opens * later, closes * later), asked, CALENDAR)
    ended = whole.label_end <= cut
    assert_array_equal(whole.target[ended], changed.target[ended])
    held = np.arange(len(closes)) + asked.delay + 1 <= cut
    assert_array_equal(whole.bar_return[held], changed.bar_return[held])


@given(prices, terms)
def test_a_label_is_known_exactly_where_its_end_is_a_bar(closes: Floats, asked: Terms) -> None:
    try:
        whole = prepare(bars(closes, closes), asked, CALENDAR)
    except Refused:
        return
    assert_array_equal(np.isfinite(whole.target), whole.label_end < len(closes))
    assert (whole.label_end >= np.arange(len(closes))).all()


@given(prices, terms)
def test_nothing_crosses_a_close_that_must_be_flat(closes: Floats, asked: Terms) -> None:
    try:
        whole = prepare(bars(closes, closes), asked, CALENDAR)
    except Refused:
        return
    if asked.session_policy == "hold":
        assert not whole.flat.any()
        return
    for row in np.flatnonzero(np.isfinite(whole.target)):
        assert whole.session[row] == whole.session[whole.label_end[row]]
    for row in np.flatnonzero(np.isfinite(whole.bar_return) & ~whole.flat):
        assert whole.session[row] == whole.session[row + asked.delay + 1]
    assert not whole.bar_return[whole.flat].any()


@given(st.integers(0, 400), st.integers(1, 6))
def test_the_calendar_says_live_what_the_dataset_says_of_the_past(offset: int, ahead: int) -> None:
    calendar = calendar_named("XNYS")
    closes = calendar.session_closes(datetime(2024, 7, 1, tzinfo=UTC), datetime(2024, 7, 3, tzinfo=UTC))
    grid = np.concatenate([close - np.arange(77, -1, -1) * np.timedelta64(5 * 60 * 10**6, "us") for close in closes])
    row = offset % (len(grid) - ahead)
    session = calendar.session_index(grid)
    moment = grid[row].item().replace(tzinfo=UTC)
    assert calendar.crosses_close(moment, "5m", ahead) == bool(session[row] != session[row + ahead])
