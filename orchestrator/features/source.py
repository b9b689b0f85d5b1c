"""Where bars and their features come from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.core.bars import Bars
from orchestrator.core.errors import Refused


class UnusableFeatures(Refused):
    """A dataset cannot be searched on; there is a reason for each of its faults."""


@dataclass(frozen=True)
class Extent:
    """How much loading would read: rows, those of the warm-up among them, and columns of numbers beside `event_time`.

    Loaded, a number takes 8 bytes.
    """

    rows: int
    columns: int


class FeatureSource(Protocol):
    """Bars by ticker and timeframe."""

    def tickers(self, timeframe: str) -> tuple[str, ...]:
        """The tickers that have bars of `timeframe`, sorted."""
        ...

    def timeframes(self, ticker: str | None = None) -> tuple[str, ...]:
        """The timeframes that `ticker`, or where it is None any, has bars of, shortest bar first."""
        ...

    def extent(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Extent:
        """How much `load` would read, told without reading it.

        Raises:
            UnusableFeatures: there are no such bars, or their times or their columns cannot be read.
            ValueError: `start` or `end` is naive.
        """
        ...

    def load(self, ticker: str, timeframe: str, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """The bars whose event time is at or after `start` and before `end`, without leading warm-up rows.

        `data_hash` depends on nothing but these bars: neither on the ticker's name nor on how they are stored. What is
        wrong with rows outside the span does not count, save that a feature was scaled on all rows together: a part of
        them does not show it.

        Raises:
            UnusableFeatures: there are no such bars, or something is wrong with them; every fault at once.
            ValueError: `start` or `end` is naive.
        """
        ...
