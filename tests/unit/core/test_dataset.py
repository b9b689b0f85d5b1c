from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.testing import assert_allclose

from orchestrator.core.arrays import Times
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Dataset, Terms, holdout_start, prepare, terms_of
from orchestrator.core.errors import Refused
from schemas.search import SearchRequest

OPEN = np.array([10.0, 11.0, 12.0, 15.0, 20.0, 30.0])
CLOSE = np.array([10.0, 10.5, 14.0, 18.0, 27.0, 31.0])
DAILY = calendar_named().session_closes(datetime(2024, 7, 1, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC))[:6]
INTRADAY = np.array(
    [
        "2024-07-05T19:50",
        "2024-07-05T19:55",
        "2024-07-05T20:00",
        "2024-07-08T13:35",
        "2024-07-08T13:40",
        "2024-07-08T13:45",
    ],
    "datetime64[us]",
)


def bars(event_time: Times = DAILY, timeframe: str = "1d", *, opens: bool = True) -> Bars:
    return Bars(
        ticker="AAPL",
        timeframe=timeframe,
        event_time=event_time,
        close=CLOSE,
        feature_names=("a",),
        features=np.zeros((6, 1)),
        data_hash="0" * 64,
        open=OPEN if opens else None,
    )


def prepared(terms: Terms, of: Bars | None = None) -> Dataset:
    return prepare(bars() if of is None else of, terms, calendar_named())


def request(**fields: object) -> SearchRequest:
    whole = {"request_id": "r1", "strategy": "grid", "algorithm": "elasticnet", "tickers": ("AAPL",), **fields}
    return SearchRequest.model_validate(whole)


def test_next_open_trades_at_the_open_after_the_decision() -> None:
    dataset = prepared(Terms("return", 2, "next_open"))
    assert_allclose(dataset.bar_return, [12 / 11 - 1, 15 / 12 - 1, 20 / 15 - 1, 30 / 20 - 1, np.nan, np.nan])
    assert_allclose(dataset.target, [15 / 11 - 1, 20 / 12 - 1, 30 / 15 - 1, np.nan, np.nan, np.nan])
    assert dataset.label_end.tolist() == [3, 4, 5, 6, 6, 6]


def test_next_close_trades_at_the_close_after_the_decision() -> None:
    dataset = prepared(Terms("return", 2, "next_close"))
    assert_allclose(dataset.bar_return, [14 / 10.5 - 1, 18 / 14 - 1, 27 / 18 - 1, 31 / 27 - 1, np.nan, np.nan])
    assert_allclose(dataset.target, [18 / 10.5 - 1, 27 / 14 - 1, 31 / 18 - 1, np.nan, np.nan, np.nan])
    assert dataset.label_end.tolist() == [3, 4, 5, 6, 6, 6]


def test_same_close_trades_at_the_close_of_the_decision() -> None:
    dataset = prepared(Terms("return", 2, "same_close"))
    assert_allclose(dataset.bar_return[:5], CLOSE[1:] / CLOSE[:-1] - 1)
    assert_allclose(dataset.target[:4], CLOSE[2:] / CLOSE[:-2] - 1)
    assert np.isnan(dataset.bar_return[5])
    assert dataset.label_end.tolist() == [2, 3, 4, 5, 6, 6]


def test_the_bar_return_is_simple_whatever_the_target_is() -> None:
    log, simple = prepared(Terms("log_return", 1)), prepared(Terms("return", 1))
    assert_allclose(log.target, np.log1p(simple.target))
    assert_allclose(log.bar_return, simple.bar_return)
    assert_allclose(log.bar_return, np.expm1(log.target))


def test_flat_at_close_neither_holds_nor_learns_over_the_close() -> None:
    dataset = prepared(Terms("return", 2, "same_close", "flat_at_close"), bars(INTRADAY, "5m"))
    assert dataset.flat.tolist() == [False, False, True, False, False, False]
    assert dataset.bar_return[2] == 0.0
    assert np.isfinite(dataset.target).tolist() == [True, False, False, True, False, False]
    assert dataset.label_end.tolist() == [2, 6, 6, 5, 6, 6]


def test_flat_at_close_counts_the_bar_between_decision_and_trade() -> None:
    dataset = prepared(Terms("return", 1, "next_open", "flat_at_close"), bars(INTRADAY, "5m"))
    assert dataset.flat.tolist() == [False, True, True, False, False, False]
    assert np.isfinite(dataset.target).tolist() == [True, False, False, True, False, False]


def test_daily_bars_cannot_be_flat_at_the_close() -> None:
    with pytest.raises(Refused, match="flat_at_close_needs_intraday"):
        prepared(Terms(session_policy="flat_at_close"))


def test_a_horizon_beyond_the_bars_is_refused() -> None:
    with pytest.raises(Refused, match="too_few_bars"):
        prepared(Terms(horizon=5))


def test_next_open_needs_opens() -> None:
    with pytest.raises(Refused, match="no_opens"):
        prepared(Terms(), bars(opens=False))


def test_terms_have_defaults_by_timeframe_and_by_the_presence_of_opens() -> None:
    assert terms_of(request(), has_open=True) == Terms("log_return", 1, "next_open", "hold")
    assert terms_of(request(timeframe="5m"), has_open=False) == Terms("log_return", 12, "next_close", "flat_at_close")
    asked = request(timeframe="5m", horizon=3, execution="same_close", session_policy="hold")
    assert terms_of(asked, has_open=True) == Terms("log_return", 3, "same_close", "hold")


def test_the_holdout_is_the_last_sessions() -> None:
    calendar = calendar_named()
    assert holdout_start(bars(), 0, calendar) == 6
    assert holdout_start(bars(), 2, calendar) == 4
    assert holdout_start(bars(INTRADAY, "5m"), 1, calendar) == 3
    with pytest.raises(Refused, match="holdout_too_long"):
        holdout_start(bars(), 6, calendar)
