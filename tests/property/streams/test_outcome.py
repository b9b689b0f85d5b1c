"""A trading engine that follows the signals holds what the search's own position function would have held."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.dataset import Dataset
from orchestrator.core.metrics import score
from orchestrator.core.position import positions
from orchestrator.core.profit import net_returns
from streams.decision import Moment
from streams.demo.engine import Book
from streams.demo.outcome import held, outcome
from streams.memory import Answered
from tests.unit.streams.fakes import EXIT_THRESHOLD, NOW, THRESHOLD, bar, batch_answer, decided, tick

scores = st.sampled_from([-1.0, -0.8, -0.5, -0.1, 0.1, 0.5, 0.8, 1.0]) | st.just(math.nan)
feeds = st.lists(st.lists(scores, min_size=1, max_size=3), min_size=1, max_size=40)
"""For each bar, the scores of its revisions."""
COST = 0.0002


def signals(feed: list[list[float]]) -> list[dict[str, Any]]:
    """The signals of a feed, as they are read from the topic."""
    newest: Answered | None = None
    found = []
    for hours, revisions in enumerate(feed):
        for revision, one in enumerate(revisions):
            on = tick(hours, revision=revision)
            moment = Moment(now=NOW, valid_until=on.event_time + timedelta(hours=1), must_be_flat=False)
            signal, newest = decided(on, batch_answer(np.array([one]), ["AAPL"]), 0, newest, moment)
            found.append(signal.model_dump(mode="json"))
    return found


def times(count: int) -> Any:
    return np.array([bar(hours).replace(tzinfo=None) for hours in range(count)], dtype="datetime64[us]")


def expected(feed: list[list[float]]) -> Any:
    """What is held bar by bar: of each bar the newest revision that has an opinion counts."""
    last = [next((one for one in reversed(revisions) if not math.isnan(one)), math.nan) for revisions in feed]
    return positions(np.array(last), threshold=THRESHOLD, exit_threshold=EXIT_THRESHOLD)


@given(feeds, st.data())
def test_the_engine_holds_what_the_position_function_says_however_often_signals_come(
    feed: list[list[float]], data: st.DataObject
) -> None:
    said = signals(feed)
    book = Book()
    repeats = 0
    for number, signal in enumerate(said):
        book.take(signal)
        for again in data.draw(st.lists(st.integers(0, number), max_size=2)):
            book.take(said[again])
            repeats += 1
    assert (len(book.seen), book.repeats, book.expired) == (len(said), repeats, 0)
    assert held(book.decisions, times(len(feed))).tolist() == expected(feed).tolist()


@given(feeds, st.lists(st.booleans(), min_size=40, max_size=40))
def test_bars_without_a_signal_leave_the_position(feed: list[list[float]], present: list[bool]) -> None:
    said = [each for each in signals(feed) if present[feed_bar(each)]]
    found = held(said, times(len(feed)))
    for hours in range(len(feed)):
        if not present[hours]:
            assert found[hours] == (found[hours - 1] if hours else 0)


def feed_bar(signal: dict[str, Any]) -> int:
    return [bar(hours).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for hours in range(40)].index(signal["event_time"])


@given(feeds.filter(lambda feed: len(feed) > 3), st.integers(0, 2**32 - 1))
def test_the_outcome_is_scored_as_the_search_scores(feed: list[list[float]], seed: int) -> None:
    count = len(feed)
    returns = np.random.default_rng(seed).normal(0, 0.01, count)
    # The last bars have no return yet.
    returns[-2:] = np.nan
    dataset = Dataset(
        ticker="AAPL",
        timeframe="1h",
        event_time=times(count),
        session=np.arange(count, dtype=np.int64) // 2,
        features=np.zeros((count, 0)),
        target=np.zeros(count),
        bar_return=returns,
        flat=np.zeros(count, dtype=np.bool_),
        label_end=np.arange(count, dtype=np.int64),
        feature_names=(),
        data_hash="0" * 64,
        sessions_per_year=252.0,
    )
    said = signals(feed)
    found = outcome(dataset, said, cost=COST)
    known, position = returns[:-2], expected(feed)[:-2]
    own = score(net_returns(position, known, COST), known, position, dataset.session[:-2], 252.0)
    assert (found.net_sharpe, found.hit_rate, found.trades) == (own["sharpe_ratio"], own["hit_rate"], own["trades"])
    assert sum(found.signals.values()) == len(said)
    assert found.abstained == sum(math.isnan(one) for revisions in feed for one in revisions)
