"""Bars: prices and features of one ticker, as a feature source hands them over."""

import hashlib
from dataclasses import dataclass, replace

from orchestrator.core.arrays import Floats, Times


@dataclass(frozen=True, eq=False)
class Bars:
    """Prices and features of one ticker at one timeframe, oldest first.

    `event_time` (n,) holds the bars' closes, datetime64[us] in UTC, strictly ascending. Prices and `volume` are (n,),
    adjusted for splits and dividends; those that the source lacks are None. `features` (n, f) is C-contiguous, in the
    order of `feature_names`, known at the bar's close. `data_hash` is the SHA-256 (hex) of all of it.
    """

    ticker: str
    timeframe: str
    event_time: Times
    close: Floats
    feature_names: tuple[str, ...]
    features: Floats
    data_hash: str
    open: Floats | None = None
    high: Floats | None = None
    low: Floats | None = None
    volume: Floats | None = None

    def __post_init__(self) -> None:
        count = len(self.event_time)
        for name in ("open", "high", "low", "close", "volume"):
            column = getattr(self, name)
            if column is not None and column.shape != (count,):
                raise ValueError(f"{name} has shape {column.shape}, but there are {count} bars")
        if self.features.shape != (count, len(self.feature_names)):
            expected = (count, len(self.feature_names))
            raise ValueError(f"features have shape {self.features.shape}, not {expected}: bars by feature names")

    def __len__(self) -> int:
        return len(self.event_time)

    def head(self, count: int) -> "Bars":
        """The first `count` bars, with a data hash of their own: nothing made of them can know what follows."""
        if not 0 <= count <= len(self):
            raise ValueError(f"cannot take the first {count} of {len(self)} bars")
        return replace(
            self,
            event_time=self.event_time[:count],
            open=None if self.open is None else self.open[:count],
            high=None if self.high is None else self.high[:count],
            low=None if self.low is None else self.low[:count],
            close=self.close[:count],
            volume=None if self.volume is None else self.volume[:count],
            features=self.features[:count],
            data_hash=hashlib.sha256(f"{self.data_hash}\nfirst {count}".encode()).hexdigest(),
        )
