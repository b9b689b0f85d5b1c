"""Drift: whether features are distributed as they were in training, window after window.

The bars of a window are counted in bins between the deciles of training, values that are not known in a bin of their
own, and compared by the population stability index, sum (p - q) ln(p / q) over bins, p the window's shares, q those of
training. Training's own windows, each against the rest of training, say how large it becomes by chance: so features
that hardly change from bar to bar have thresholds of their own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from orchestrator.core.arrays import Flags, Floats, Integers, Times
from orchestrator.core.calendar import Calendar, bar_length, is_intraday

BINS = 10
"""By deciles; values that are not known are in one more."""
SMOOTHING = 0.5
"""Bars that each bin is counted to have besides, distributed as in training, so that an empty bin is no certainty."""
DAILY_WINDOW = 60
"""Bars of a day and more."""
INTRADAY_SESSIONS = 5
"""Whole ones: bars of one session differ by the time of day, and sessions by the day of the week."""
LEAST_WINDOWS = 20
"""Of training that show what chance does; windows are shorter where there are fewer bars."""
LEAST_WINDOW = 32
"""Bars."""
MOST_VALUES = 4_000_000
"""Of training that a profile is made of: the newest rows."""
OVERLAP = 4
"""Training's windows begin a quarter of their length after each other."""
FALSE_ALARMS = 0.05
"""Chance that in a window any feature of any instrument is above its threshold, though nothing has changed."""
MARGIN = 0.5
"""What of the range of training lies beyond its ends, and is not outside yet: longer observed, every range grows."""


@dataclass(frozen=True)
class Window:
    """What a whole window of one instrument's bars has shown; figures by feature, in the profile's order.

    Attributes:
        start: its first bar.
        end: its last bar.
        psi: population stability index of each feature, against training.
        outliers: share of its bars with any feature outside the range of training.
    """

    start: datetime
    end: datetime
    psi: tuple[float, ...]
    outliers: float


@dataclass(frozen=True)
class Watch:
    """Where the detectors of a version stand on one instrument.

    Attributes:
        newest: the bar that was taken in last; None: there was none.
        start: the first bar of the window under way; None: it has none.
        counts: bars of the window under way by feature and bin; the last bin is of values that are not known.
        outliers: bars of the window under way with any feature outside the range of training.
        last: the last whole window; None: there was none.
        streaks: by feature, the whole windows in a row, up to the last, whose index was above the threshold.
    """

    newest: datetime | None = None
    start: datetime | None = None
    counts: tuple[tuple[int, ...], ...] = ()
    outliers: int = 0
    last: Window | None = None
    streaks: tuple[int, ...] = ()

    @property
    def bars(self) -> int:
        """Of the window under way."""
        return sum(self.counts[0]) if self.counts else 0


@dataclass(frozen=True, eq=False)
class Profile:
    """How the features of one instrument were distributed in training.

    `edges` (f, BINS - 1) are the deciles, ascending; `shares` (f, BINS + 1) of training's bars between them, above 0,
    the last one of values that are not known; beyond `low` and `high` (f,) a value is outside the range of training;
    `thresholds` (f,) of the index; `window` is in bars.
    """

    feature_names: tuple[str, ...]
    edges: Floats
    shares: Floats
    low: Floats
    high: Floats
    thresholds: Floats
    window: int

    def watch(self, watch: Watch, event_time: Times, features: Floats) -> tuple[Watch, list[Window]]:
        """Take in bars as they come.

        A bar that is not after all bars before it, be it late, repeated or revised, is passed over.

        Args:
            watch: where the detectors stand.
            event_time: (n,) of the bars; whoever calls leaves out what lies ahead of the clock, since no bar would be
                after that.
            features: (n, f) in the order of `feature_names`, NaN where not known.

        Returns:
            Where they stand then, and the windows that were completed on the way, oldest first.
        """
        moments = event_time.astype("datetime64[us]").astype(np.int64)
        fresh = _ahead(moments, watch.newest)
        moments, rows = moments[fresh], features[fresh]
        bins, outside = _bins(self.edges, rows), self._outside(rows)
        windows: list[Window] = []
        begin = 0
        while begin < len(moments):
            end = begin + self.window - watch.bars
            watch = self._took(watch, moments[begin:end], bins[begin:end], int(outside[begin:end].sum()))
            if watch.bars == self.window:
                watch = self._closed(watch)
                windows += [watch.last] if watch.last else []
            begin = end
        return watch, windows

    def _took(self, watch: Watch, moments: Integers, bins: NDArray[np.int8], outliers: int) -> Watch:
        """After bars of the window under way."""
        counts = _counts(bins, np.zeros(len(bins), dtype=np.int64), 1)[0]
        if watch.counts:
            counts += np.array(watch.counts)
        return replace(
            watch,
            newest=_instant(moments[-1]),
            start=watch.start or _instant(moments[0]),
            counts=tuple(map(tuple, counts.tolist())),
            outliers=watch.outliers + outliers,
        )

    def _closed(self, watch: Watch) -> Watch:
        """After the window under way, which is whole."""
        assert watch.start is not None
        assert watch.newest is not None
        psi = stability_index(np.array(watch.counts), self.shares)
        above = (psi > self.thresholds).tolist()
        streaks = watch.streaks or (0,) * len(above)
        return Watch(
            newest=watch.newest,
            last=Window(watch.start, watch.newest, tuple(psi.tolist()), watch.outliers / self.window),
            streaks=tuple(row + 1 if high else 0 for row, high in zip(streaks, above, strict=True)),
        )

    def dump(self) -> bytes:
        """The profile as JSON; the same profile gives the same bytes."""
        content = {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def load(cls, content: bytes) -> Self:
        """The profile that `dump` wrote."""
        read: dict[str, Any] = json.loads(content)
        arrays = {name: np.array(read[name]) for name in ("edges", "shares", "low", "high", "thresholds")}
        return cls(feature_names=tuple(read["feature_names"]), window=read["window"], **arrays)

    def _outside(self, rows: Floats) -> Flags:
        """Rows (n,) with any feature outside the range of training; what is not known is not outside."""
        return np.asarray(((rows < self.low) | (rows > self.high)).any(axis=1))


def window_bars(timeframe: str, calendar: Calendar) -> int:
    """Bars of a window: so many days, or so many sessions of bars that are shorter than a day."""
    if not is_intraday(timeframe):
        return DAILY_WINDOW
    session = timedelta(microseconds=float(np.median(calendar.closes - calendar.opens)))
    return max(DAILY_WINDOW, INTRADAY_SESSIONS * -(-session // bar_length(timeframe)))


def profiled(features: int) -> int:
    """How many of the newest rows a profile of so many features is made of."""
    return MOST_VALUES // max(1, features)


def profile_of(features: Floats, feature_names: Sequence[str], window: int, instruments: int = 1) -> Profile | None:
    """The profile of training rows.

    Args:
        features: (n, f), oldest first, NaN where not known; the newest `profiled` rows are enough. Those before the
            first whole one are left out.
        feature_names: of the columns.
        window: in bars, at most; shorter ones where training would not have `LEAST_WINDOWS` of them.
        instruments: that are watched beside each other: the more, the rarer each may be above its thresholds.

    Returns:
        None where there are too few rows: less than `LEAST_WINDOWS` windows of `LEAST_WINDOW` bars.
    """
    whole = np.isfinite(features).all(axis=1)
    rows = features[int(np.argmax(whole)) :] if whole.any() else features[:0]
    rows = rows[-profiled(rows.shape[1]) :]
    window = min(window, len(rows) // LEAST_WINDOWS) // OVERLAP * OVERLAP
    if window < LEAST_WINDOW:
        return None
    known = np.where(np.isfinite(rows), rows, np.nan)
    low, high = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        # Beyond what a number can be there is nothing.
        edges = np.nan_to_num(np.nanquantile(known, np.arange(1, BINS) / BINS, axis=0).T)
        margin = np.nan_to_num(MARGIN * high - MARGIN * low)
        low, high = np.nan_to_num(low - margin), np.nan_to_num(high + margin)
    bins = _bins(edges, rows)
    everything = _counts(bins, np.zeros(len(rows), dtype=np.int64), 1)[0]
    return Profile(
        feature_names=tuple(feature_names),
        edges=edges,
        shares=_shares(everything),
        low=low,
        high=high,
        thresholds=_thresholds(bins, everything, window, FALSE_ALARMS / (rows.shape[1] * instruments)),
        window=window,
    )


def stability_index(counts: Integers, shares: Floats) -> Floats:
    """Population stability index (k, f) of windows with `counts` (k, f, b), against `shares` (f, b) or (k, f, b)."""
    pseudo = SMOOTHING * shares.shape[-1]
    found = (counts + pseudo * shares) / (counts.sum(axis=-1, keepdims=True) + pseudo)
    index: Floats = ((found - shares) * np.log(found / shares)).sum(axis=-1)
    return index


def _thresholds(bins: NDArray[np.int8], everything: Integers, window: int, chance: float) -> Floats:
    """By feature, what the index of a window exceeds with this chance, and what none of training's own windows does.

    So far out there are no windows to be counted. The index is near to a sum of squares, and so to a gamma
    distribution; its mean and variance are those of training's windows, each against the rest of training.
    """
    step = window // OVERLAP
    steps = len(bins) // step
    by_step = _counts(bins[: steps * step], np.arange(steps * step) // step, steps)
    passed = np.concatenate([np.zeros_like(by_step[:1]), np.cumsum(by_step, axis=0)])
    counts = passed[OVERLAP:] - passed[:-OVERLAP]
    index = stability_index(counts, _shares(everything - counts))
    mean, variance = index.mean(axis=0), index.var(axis=0, ddof=1)
    shape = mean**2 / np.maximum(variance, 1e-12)
    thresholds: Floats = np.maximum(gammaincinv(shape, 1.0 - chance) * mean / shape, index.max(axis=0))
    return thresholds


def _shares(counts: Integers) -> Floats:
    """Shares by bin, (..., b), none of them 0."""
    smoothed = counts + SMOOTHING
    shares: Floats = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return shares


def _bins(edges: Floats, rows: Floats) -> NDArray[np.int8]:
    """The bin (n, f) of each value of rows (n, f): as many as there are edges below it, the last where not known."""
    bins = np.zeros(rows.shape, dtype=np.int8)
    for edge in edges.T:
        bins += rows > edge
    bins[~np.isfinite(rows)] = BINS
    return bins


def _counts(bins: NDArray[np.int8], place: Integers, places: int) -> Integers:
    """Bars (places, f, BINS + 1) of each place by feature and bin; `place` is (n,) beside `bins` (n, f)."""
    features = bins.shape[1]
    cells = (place[:, np.newaxis] * features + np.arange(features)) * (BINS + 1) + bins
    counts = np.bincount(cells.ravel(), minlength=places * features * (BINS + 1))
    return counts.reshape(places, features, BINS + 1).astype(np.int64)


def _ahead(moments: Integers, newest: datetime | None) -> Flags:
    """Which moments (n,) are after all before them."""
    floor = np.iinfo(np.int64).min if newest is None else _microseconds(newest)
    before = np.maximum.accumulate(np.concatenate([[floor], moments[:-1]]))
    flags: Flags = moments > before
    return flags


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _instant(microseconds: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))
