from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from streams.decision import Moment
from streams.demo.engine import Book
from tests.unit.streams.fakes import HOUR, NOW, bar, batch_answer, decided, tick


def signal(hours: int, ticker: str = "AAPL", valid: timedelta = HOUR) -> dict[str, Any]:
    on = tick(hours, ticker=ticker)
    moment = Moment(now=NOW, valid_until=on.event_time + valid, must_be_flat=False)
    said, _ = decided(on, batch_answer(np.array([0.9]), [ticker]), 0, None, moment)
    return said.model_dump(mode="json")


@pytest.fixture
def book() -> Book:
    return Book()


def test_a_signal_is_acted_on_once(book: Book) -> None:
    for _ in range(3):
        book.take(signal(0))
    assert (len(book.decisions), book.repeats, len(book.seen)) == (1, 2, 1)


def test_a_signal_is_not_acted_on_when_its_instrument_is_past_its_validity(book: Book) -> None:
    book.take(signal(5))
    book.take(signal(3))
    book.take(signal(4))
    assert (len(book.decisions), book.expired) == (2, 1)


def test_each_instrument_has_a_clock_of_its_own(book: Book) -> None:
    book.take(signal(5, "AAPL"))
    book.take(signal(0, "MSFT"))
    assert (len(book.decisions), book.expired) == (2, 0)


def test_what_it_held_after_each_bar_is_kept(book: Book) -> None:
    book.take(signal(0))
    assert book.decisions == [
        {
            "ticker": "AAPL",
            "event_time": bar(0).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "signal": "BUY",
            "target_position": 1,
        }
    ]
