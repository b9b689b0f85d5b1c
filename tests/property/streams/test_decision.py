"""Signals follow the one position function, bar after bar."""

import math
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.position import position, positions
from schemas.base import Mode
from schemas.signals import Signal, signal_id
from streams.decision import Moment
from streams.memory import Answered
from tests.unit.streams.fakes import EXIT_THRESHOLD, NOW, THRESHOLD, bar, batch_answer, decided, served, tick

# The thresholds themselves are where the rules touch.
scores = (
    st.sampled_from([-1, -0.8, -0.7, -0.35, -0.1, 0.0, 0.1, 0.35, 0.7, 0.8, 1]) | st.floats(-1, 1) | st.just(math.nan)
)
modes: st.SearchStrategy[Mode] = st.sampled_from(["live", "replay", "shadow", "paper"])
feeds = st.lists(st.tuples(st.lists(scores, min_size=1, max_size=3), st.booleans()), max_size=30)
"""For each bar, the scores of its revisions in order, and whether the position must be flat."""


def moment(*, flat: bool = False) -> Moment:
    return Moment(now=NOW, valid_until=NOW + timedelta(hours=1), must_be_flat=flat)


def on_bar(
    hours: int, score: float, newest: Answered | None, *, revision: int = 0, flat: bool = False
) -> tuple[Signal, Answered]:
    answer = batch_answer(np.array([score]), ["AAPL"])
    on = tick(hours, None if math.isnan(score) else score, revision=revision)
    return decided(on, answer, 0, newest, moment(flat=flat))


@given(st.lists(st.tuples(scores, st.booleans()), max_size=60))
def test_the_positions_held_are_those_of_the_search(history: list[tuple[float, bool]]) -> None:
    newest, held = None, []
    for hours, (score, flat) in enumerate(history):
        _, newest = on_bar(hours, score, newest, flat=flat)
        held.append(newest.position)
    expected = positions(
        np.array([score for score, _ in history]),
        threshold=THRESHOLD,
        exit_threshold=EXIT_THRESHOLD,
        flat=np.array([flat for _, flat in history], dtype=np.bool_),
    )
    assert held == expected.tolist()


@given(feeds)
def test_a_revision_starts_from_the_position_before_its_bar_and_supersedes_the_revision_before(
    feed: list[tuple[list[float], bool]],
) -> None:
    newest, before, held = None, 0, 0
    for hours, (revisions, flat) in enumerate(feed):
        previous = None
        for revision, score in enumerate(revisions):
            given_signal, newest = on_bar(hours, score, newest, revision=revision, flat=flat)
            if flat or not math.isnan(score):
                held = position(score, before, threshold=THRESHOLD, exit_threshold=EXIT_THRESHOLD, flat=flat)
            assert (newest.position_before, newest.position) == (before, held)
            assert given_signal.supersedes == previous
            previous = given_signal.id
        before = held


@given(feeds)
def test_buy_sell_and_hold_tell_how_the_position_changes_and_an_abstention_has_no_target(
    feed: list[tuple[list[float], bool]],
) -> None:
    newest, held = None, 0
    for hours, (revisions, flat) in enumerate(feed):
        for revision, score in enumerate(revisions):
            given_signal, newest = on_bar(hours, score, newest, revision=revision, flat=flat)
            change = newest.position - newest.position_before
            if math.isnan(score) and not flat:
                assert (given_signal.signal, given_signal.target_position) == ("HOLD", None)
                assert newest.position == held
                assert given_signal.reasons
            else:
                assert given_signal.signal == ("BUY" if change > 0 else "SELL" if change < 0 else "HOLD")
                assert given_signal.target_position == newest.position
            held = newest.position


@given(scores, modes, modes, st.integers(0, 3))
def test_what_is_remembered_names_the_signal_and_its_bar(
    score: float, ensemble_mode: Mode, tick_mode: Mode, revision: int
) -> None:
    answer = batch_answer(np.array([score]), ["AAPL"], by=served(mode=ensemble_mode))
    on = tick(1, revision=revision, mode=tick_mode)
    given_signal, answered = decided(on, answer, 0, None, moment())
    heard = ensemble_mode if tick_mode == "live" else tick_mode
    assert given_signal.mode == heard
    assert given_signal.id == signal_id("alpha", "AAPL", "1h", bar(1), revision, heard)
    assert (answered.bar, answered.signal_id) == ((bar(1), revision), given_signal.id)
