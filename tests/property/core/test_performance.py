"""Followed bar by bar, signals earn what the scorer finds on the whole series, however often and late they are told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Execution, Terms, prepare
from orchestrator.core.performance import Account, Figures, Following, Said
from orchestrator.core.profit import combined
from orchestrator.core.scoring import History, trade

CALENDAR = calendar_named("24/7")
START = np.datetime64("2026-01-05T03:00", "us")
THRESHOLD, EXIT_THRESHOLD = 0.5, 0.25
prices = st.floats(50, 200).map(lambda value: round(value, 2))
scores = st.sampled_from([-0.9, -0.4, -0.1, 0.0, 0.1, 0.4, 0.9, float("nan")])
rows = st.lists(st.tuples(prices, scores), min_size=5, max_size=60)
Told = tuple[str, Said]


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[tuple[float, float]], Execution, float]:
    """Closes and scores of bars of eight hours, how they are traded, and at what cost."""
    return draw(rows), draw(st.sampled_from(["same_close", "next_close"])), draw(st.sampled_from([0.0, 0.0002, 0.01]))


def scored(market: tuple[list[tuple[float, float]], Execution, float]) -> History:
    """What the scorer finds."""
    table, execution, cost = market
    close, score = (np.array(column, dtype=np.float64) for column in zip(*table, strict=True))
    bars = Bars(
        ticker="AAPL",
        timeframe="8h",
        event_time=times(len(close)),
        features=score[:, None],
        feature_names=("score",),
        open=None,
        close=close,
        data_hash="d" * 64,
    )
    dataset = prepare(bars, Terms(execution=execution), CALENDAR)
    return trade(dataset, np.arange(len(close)), score, threshold=THRESHOLD, exit_threshold=EXIT_THRESHOLD, cost=cost)


def times(count: int) -> Any:
    return START + np.arange(count) * np.timedelta64(8, "h")


def signals(
    market: tuple[list[tuple[float, float]], Execution, float], ticker: str = "AAPL", share: float = 1.0
) -> list[Told]:
    """What an ensemble with these scores would have told."""
    table, execution, cost = market
    held = scored(market).position
    following = Following(cost, 0 if execution == "same_close" else 1, share)
    told = []
    for (price, score), position, moment in zip(table, held, times(len(table)), strict=True):
        event_time = moment.item().replace(tzinfo=UTC)
        target = None if np.isnan(score) else int(position)
        told.append((ticker, Said(event_time, 0, target, price, CALENDAR.session_close(event_time), following)))
    return told


def followed(told: list[Told]) -> Account:
    account = Account()
    for instrument, said in told:
        account.follow(instrument, 1, said)
    return account


def figures(told: list[Told]) -> Figures:
    return followed(told).figures(CALENDAR.sessions_per_year)


def assert_same(found: Figures, expected: Figures) -> None:
    for name, value in vars(expected).items():
        assert getattr(found, name) == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-12))


@given(markets())
def test_followed_bar_by_bar_it_earns_what_the_scorer_finds_on_the_whole_series(market: Any) -> None:
    history, found = scored(market), figures(signals(market))
    hit_rate, sharpe, net, chance = (
        history.metrics[each] for each in ("hit_rate", "sharpe_ratio", "net_return", "psr")
    )
    assert net is not None
    assert_same(found, Figures(len(history.session_ids), hit_rate, sharpe, net, chance))


@given(markets(), st.data())
def test_what_is_told_again_or_late_changes_nothing(market: Any, data: st.DataObject) -> None:
    told = signals(market)
    again = list(told)
    for _ in range(data.draw(st.integers(1, 10))):
        place = data.draw(st.integers(0, len(told) - 1))
        instrument, said = told[place]
        # A repetition comes at any time after the first, and may say another thing: the first counts.
        other = Said(said.event_time, said.revision, -1, 1.0, said.session, said.following)
        where = again.index(told[place])
        again.insert(
            data.draw(st.integers(where + 1, len(again))), (instrument, data.draw(st.sampled_from([said, other])))
        )
    account, once = followed(again), followed(told)
    assert account == once


@given(markets(), markets(), st.randoms())
def test_instruments_share_the_stake_and_may_be_told_in_any_order(one: Any, other: Any, random: Any) -> None:
    left, right = signals(one, "AAPL", 0.5), signals(other, "IBM", 0.5)
    expected = figures(left + right)
    mixed: list[Told] = []
    queues = [list(left), list(right)]
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))
    assert_same(figures(mixed), expected)
    parts = [(history.session_ids, history.session_profit) for history in (scored(one), scored(other))]
    _, profit = combined(parts)
    assert expected.net_return == pytest.approx(float(profit.sum()), abs=1e-12)


@given(markets(), st.data())
def test_a_revision_takes_the_place_of_what_was_said_of_its_bar(market: Any, data: st.DataObject) -> None:
    told = signals(market)
    places = data.draw(st.sets(st.integers(0, len(told) - 1)))
    revised: list[Told] = []
    for place, (instrument, said) in enumerate(told):
        # An abstention leaves what the first version has said, so only what was decided may have been said otherwise.
        if place in places and said.target is not None:
            wrong = Said(said.event_time, 0, data.draw(st.integers(-1, 1)), 77.0, said.session, said.following)
            revised += [(instrument, wrong), (instrument, Said(**(vars(said) | {"revision": 1})))]
        else:
            revised.append((instrument, said))
    found, expected = followed(revised), followed(told)
    assert found.signals == expected.signals
    assert_same(found.figures(365), expected.figures(365))


@given(markets(), st.data())
def test_a_bar_without_a_price_is_as_if_its_decision_were_the_next_bar_s(market: Any, data: st.DataObject) -> None:
    told = signals(market)
    silent = data.draw(st.sets(st.integers(0, len(told) - 1)))
    unpriced, merged = [], []
    held: int | None = None
    for place, (instrument, said) in enumerate(told):
        held = held if said.target is None else said.target
        if place in silent:
            unpriced.append((instrument, Said(**(vars(said) | {"price": None}))))
        else:
            unpriced.append((instrument, said))
            merged.append((instrument, Said(**(vars(said) | {"target": held}))))
    assert_same(figures(unpriced), figures(merged))


@given(st.lists(st.floats(1e-300, 1e300), min_size=4, max_size=8), st.sampled_from([-1, 1]))
def test_no_price_makes_a_figure_infinite(wild: list[float], target: int) -> None:
    following = Following(0.0002, 1, 1.0)
    moments = [datetime(2026, 1, 5, tzinfo=UTC) + day * timedelta(days=1) for day in range(len(wild))]
    found = figures(
        [("AAPL", Said(each, 0, target, price, each, following)) for each, price in zip(moments, wild, strict=True)]
    )
    values: Floats = np.array([value for value in vars(found).values() if value is not None], dtype=np.float64)
    assert np.isfinite(values).all()
