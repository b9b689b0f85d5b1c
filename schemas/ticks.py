"""Feature ticks: one instrument's features at one event time. Keyed by instrument."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Count, FeatureName, Instant, Message, Mode, Name, Number, Sequence, Ticker, Timeframe

MOST_FEATURES = 10_000
TradingStatus = Literal["trading", "halted", "auction", "closed"]


class FeatureTick(Message):
    """De-duplicated by (ticker, timeframe, event_time, revision)."""

    TYPE: ClassVar[str] = "feature.tick"

    ticker: Ticker
    timeframe: Timeframe
    event_time: Instant
    """The bar's close."""
    available_at: Instant
    """When the features could be known."""
    revision: Count = 0
    """0, then one more with each correction of the same bar."""
    features: Annotated[dict[FeatureName, Number | None], Field(max_length=MOST_FEATURES)]
    """Value by name; null where it could not be computed."""
    price: Annotated[Number, Field(gt=0)] | None = None
    bid: Annotated[Number, Field(gt=0)] | None = None
    ask: Annotated[Number, Field(gt=0)] | None = None
    is_final: bool = True
    feature_set: Name | None = None
    sequence: Sequence | None = None
    trading_status: TradingStatus = "trading"
    mode: Mode = "live"
