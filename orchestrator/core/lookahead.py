"""Features that know what nobody could have known at the close of their bar; docs/features.md says what escapes.

Such a feature gives itself away: it goes along with the surprises of later bars more closely than a forecast can, or it
has, to the last digit, the moments of the whole sample that it was scaled on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from schemas.base import Reason

LEAST_ROWS = 100
"""Fewer rows than these show nothing."""
LEADS = 20
"""Bars ahead that are looked at, one by one."""
SPANS = (5, 12, 20)
"""Bars ahead whose returns are looked at as one."""
SHARPE_BOUND = 4.0
"""Annual Sharpe ratio before costs that no forecast of one instrument is believed to be worth.

A correlation of c with the next return is worth about c times the root of the bars a year (Grinold, 1989).
"""
RETURN_BOUNDS = (0.15, 0.5)
"""The least and the most that the bound of a correlation with one bar's return is, whatever it is worth."""
SPAN_BOUNDS = (0.3, 0.5)
"""The same of a correlation with the return over several bars."""
NEWS_BOUND = 0.4
"""Bound of a correlation with what can be foreseen in part: how far a bar moves, its gap, its range, its volume."""
LEAST_T = 6.0
"""Correlations of fewer standard errors may be chance."""
MOMENT_TOLERANCE = 1e-5
"""How close the moments of a standardised sample are to 0 and 1, even if it was written with four decimals."""
EXTREME_TOLERANCE = 1e-9
"""How close the extremes are."""
EVEN_BOUND = 0.25
"""Kolmogorov's distance to an even spread, times the root of the rows: chance gets below it once in ten millions."""

_LAGS = 5
_TRENDS = (10, 30, 100)
_ROUNDING = 1e-9
_DEPENDENT = 1e-12
_TINY, _HUGE = 1e-300, 1e100
_YEAR = np.timedelta64(31_556_952, "s")


@dataclass(frozen=True, eq=False)
class _Surprise:
    """What each bar, or each and those before it up to `bars`, brought beyond what earlier bars told: `values` (n,)."""

    name: str
    values: Floats
    leads: Sequence[int]
    bound: float
    bars: int = 1

    def ahead(self, lead: int) -> str:
        """What its value `lead` bars later is called."""
        if self.bars > 1:
            return f"the return over the next {self.bars} bars"
        return f"the next bar's {self.name}" if lead == 1 else f"the {self.name} {lead} bars ahead"


def suspects(bars: Bars, *, whole: bool = True) -> tuple[Reason, ...]:
    """Why features of one ticker's bars must not be learnt from: `knows_the_future`, `scaled_on_the_whole_sample`.

    It judges where features come from, not what they earn: give it all bars that there are, those of a hold-out too.
    Each feature, what prices do not tell of it, and what is new in it since the bar before, are compared with the
    surprises of the next 20 bars: returns, and where the columns are there, gaps, ranges and volumes. A correlation
    counts where Spearman's and Pearson's (outliers cut off at five standard deviations) are both beyond the bound, and
    Spearman's is 6 standard errors (White, 1980) from 0.

    Args:
        bars: with finite features, as a feature source gives them.
        whole: they are all that there are; a part of them does not show by what a feature was scaled.

    Returns:
        At most one reason for each feature and code, in the order of `feature_names`; none for fewer than 100 bars.
    """
    reasons = []
    for name, values, foresight in zip(bars.feature_names, bars.features.T, _foresight(bars), strict=True):
        found = {"knows_the_future": foresight, "scaled_on_the_whole_sample": scaling(values) if whole else None}
        where = f"{bars.ticker}/{bars.timeframe}/{name}"
        reasons += [Reason(code=code, where=where, message=message) for code, message in found.items() if message]
    return tuple(reasons)


def scaling(values: Floats) -> str | None:
    """By which sign values were scaled on their whole sample, and what to do; None where they show none.

    Args:
        values: (n,), in time order, all that were scaled together: a part of them shows no sign. What is not finite
            does not count.
    """
    known = np.asarray(values[np.isfinite(values)], dtype=np.float64)
    if len(known) < LEAST_ROWS or known.min() == known.max() or np.abs(known).max() > _HUGE:
        return None
    # Flags and counts may have any moments by chance.
    signs = _SIGNS if (known != np.rint(known)).any() else {_EVENNESS: _SIGNS[_EVENNESS]}
    sign = next((sign for sign, shows in signs.items() if shows(known)), None)
    return sign and (
        f"Its {len(known)} values have {sign}: only the whole sample tells how to scale them so. Give them unscaled, "
        "since training scales by the rows that it may see, or scale them by a trailing window."
    )


def _is_standardised(known: Floats) -> bool:
    deviations = (float(known.std(ddof=lost)) for lost in (0, 1))
    return abs(float(known.mean())) <= MOMENT_TOLERANCE and any(abs(d - 1.0) <= MOMENT_TOLERANCE for d in deviations)


def _is_robustly_scaled(known: Floats) -> bool:
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    # Where a quartile is 0 too, it is a flag most of the time.
    return bool(max(abs(middle), abs(high - low - 1.0)) <= MOMENT_TOLERANCE < min(abs(low), abs(high)))


def _is_stretched(known: Floats) -> bool:
    """From 0 to 1, each once, and sparse near one of them; what is bounded by nature crowds at its bounds."""
    if abs(known.min()) > EXTREME_TOLERANCE or abs(known.max() - 1.0) > EXTREME_TOLERANCE:
        return False
    meetings = max(np.count_nonzero(np.abs(known - end) <= EXTREME_TOLERANCE) for end in (0.0, 1.0))
    others = min(np.count_nonzero(known < 0.02), np.count_nonzero(known > 0.98)) - 1
    is_continuous = len(np.unique(known)) >= min(200, len(known) // 2)
    return bool(meetings == 1 and others <= 0.005 * len(known) and is_continuous)


def _is_even(known: Floats) -> bool:
    """As evenly spread as ranks, or their normal quantiles; clocks and counters, which nearly always rise, are not."""
    rising = float((np.diff(known) > 0.0).mean())
    if max(rising, 1.0 - rising) >= 0.9:
        return False
    tolerance = EVEN_BOUND / np.sqrt(len(known))
    # Most samples are told apart by their means, without sorting.
    for shares in ((known - known.min()) / np.ptp(known), ndtr(known)):
        if abs(shares.mean() - 0.5) <= tolerance:
            values, counts = np.unique(shares, return_counts=True)
            places = (np.cumsum(counts) - counts / 2.0) / len(known)
            if len(values) >= len(known) / 4 and np.abs(values - places).max() <= tolerance:
                return True
    return False


_EVENNESS = "the even spread of ranks"
_SIGNS: dict[str, Callable[[Floats], bool]] = {
    "mean 0 and standard deviation 1": _is_standardised,
    "median 0 and interquartile range 1": _is_robustly_scaled,
    "smallest value 0 and largest value 1, each once": _is_stretched,
    _EVENNESS: _is_even,
}


def _foresight(bars: Bars) -> list[str | None]:
    """For each feature what it foresees best beyond belief, and what to do; None where nothing."""
    count = len(bars.feature_names)
    worst: list[tuple[float, str | None]] = [(0.0, None)] * count
    if not count or len(bars) < LEAST_ROWS:
        return [None] * count
    lags = min(_LAGS, len(bars) // LEAST_ROWS)
    start = 1 + max(lags, 3)
    news = _news(bars)
    views = _views(bars, news, start)
    columns = [column for view in views.values() for column in view.T]
    names = [name for name in views for _ in range(count)]
    ranks = np.vstack([_ranks(column) for column in columns])
    surprises = [(surprise, _ranks(surprise.values)) for surprise in _surprises(bars, news, lags, start)]
    for lead in range(1, LEADS + 1):
        asked = [(surprise, later[lead:]) for surprise, later in surprises if lead in surprise.leads]
        close = np.abs(ranks[:, :-lead] @ np.column_stack([later for _, later in asked]))
        for place, number in np.argwhere(close >= [0.9 * surprise.bound for surprise, _ in asked]):
            judged = _judged(names[place], columns[place], asked[number][0], lead)
            worst[place % count] = max(worst[place % count], judged, key=lambda pair: pair[0])
    return [told for _, told in worst]


def _judged(name: str, column: Floats, surprise: _Surprise, lead: int) -> tuple[float, str | None]:
    """The correlation as a multiple of its bound, and what to say of it; 0 and None where it may be honest."""
    now, later = column[:-lead], surprise.values[lead:]
    products = _ranks(now) * _ranks(later)
    spearman, pearson = float(products.sum()), float(_clipped(now) @ _clipped(later))
    figure = min(spearman, pearson, key=abs)
    t = spearman / max(float(np.sqrt((products**2).sum() * surprise.bars)), _TINY)
    if spearman * pearson <= 0.0 or abs(figure) < surprise.bound or abs(t) < LEAST_T:
        return 0.0, None
    return abs(figure) / surprise.bound, (
        f"{name} correlates by {figure:.2f} with {surprise.ahead(lead)} over {len(now)} bars (t {t:.0f}). What is "
        f"known at a bar's close stays below {surprise.bound:.2f}: make it of its own bar and earlier ones, without "
        "centred windows or shifts, or leave it out."
    )


def _surprises(bars: Bars, news: dict[str, Floats], lags: int, start: int) -> Iterator[_Surprise]:
    """What each bar from `start` on brings, less what linear regression tells of it from the bars before."""
    log_close = np.log(bars.close)
    past = [column[start - lag : len(bars) - lag] for column in news.values() for lag in range(1, lags + 1)]
    past += [(log_close - _trailing_mean(log_close, length))[start - 1 : -1] for length in _TRENDS]
    if bars.high is not None and bars.low is not None:
        # A close at the bid is followed by one at the ask: where it stood in its bar foretells the bounce.
        past += [np.log(bars.close / price)[start - 1 : -1] for price in (bars.high, bars.low)]
    brought = _residuals(past, np.column_stack([column[start:] for column in news.values()]))
    a_year = (len(bars) - 1) * float(_YEAR / (bars.event_time[-1] - bars.event_time[0]))
    for name, values in zip(news, brought.T, strict=True):
        bound = _bound(1.0 / a_year, RETURN_BOUNDS) if name == "return" else NEWS_BOUND
        yield _Surprise(name, values, range(1, LEADS + 1), bound)
    for span in SPANS:
        summed = np.convolve(brought[:, 0], np.ones(span))[: len(brought)]
        yield _Surprise("return", summed, (span,), _bound(span / a_year, SPAN_BOUNDS), span)


def _bound(years: float, limits: tuple[float, float]) -> float:
    """The correlation with returns over so many years that is worth the bounding Sharpe ratio, within limits."""
    return float(np.clip(SHARPE_BOUND * np.sqrt(years), *limits))


def _news(bars: Bars) -> dict[str, Floats]:
    """What each bar brings, by name, each (n,), 0 or meaningless for the first; the return comes first."""
    previous = np.concatenate([bars.close[:1], bars.close[:-1]])
    news = {"return": np.log(bars.close / previous)}
    news["size of move"] = np.abs(news["return"])
    if bars.open is not None:
        news["gap"] = np.log(bars.open / previous)
    if bars.high is not None and bars.low is not None:
        news["range"] = np.log(bars.high / bars.low)
    if bars.volume is not None:
        news["volume"] = np.log1p(bars.volume / max(float(bars.volume.mean()), _TINY))
    return news


def _views(bars: Bars, news: dict[str, Floats], start: int) -> dict[str, Floats]:
    """The features from `start` on and what linear regression leaves of them, by what that is called; each (n, f).

    Prices up to its bar leave next to nothing of a trailing mean of prices, and of a centred one the way that prices
    are about to take. What a feature's own past leaves is new in it: 0 where that is no more than rounding, as in
    clocks. What the next close divides, it moves by its own size and sign: hence new times itself.
    """
    end = len(bars)
    shrunk = bars.features / np.maximum(np.abs(bars.features).max(axis=0), _TINY)
    scaled = (shrunk - shrunk.mean(axis=0)) / np.maximum(shrunk.std(axis=0), _TINY)
    prices = (bars.close / bars.close.max(), np.log(bars.close))
    levels = [_trailing_mean(price, length)[start:] for price in prices for length in (1, *_TRENDS)]
    told = [column[start:] for column in news.values()]
    beside = _residuals([*told, *levels], scaled[start:])
    change = np.diff(scaled, axis=0, prepend=scaled[:1])
    own = [change[start:], scaled[start - 1 : end - 1], change[start - 1 : end - 1], change[start - 2 : end - 2]]
    told += [column[start - 1 : end - 1] for column in news.values()]
    now, *before = np.hsplit(_residuals(told, np.hstack(own)), len(own))
    new = [_residuals([past[:, place] for past in before], now[:, [place]]) for place in range(now.shape[1])]
    innovations = np.hstack(new)
    innovations = np.where(innovations.std(axis=0) > _ROUNDING, innovations, 0.0)
    return {
        "It": scaled[start:],
        "What the prices up to its bar do not tell of it": beside,
        "What is new in it since the bar before": innovations,
        "What is new in it, times itself,": innovations * shrunk[start:],
    }


def _residuals(told: Sequence[Floats], targets: Floats) -> Floats:
    """Targets (n, k) less their least-squares fit by a constant and the columns `told`, each (n,)."""
    design = np.column_stack([np.ones(len(targets)), *told])
    design /= np.maximum(np.sqrt((design**2).sum(axis=0)), _TINY)
    inverse = np.linalg.pinv(design.T @ design, rcond=_DEPENDENT, hermitian=True)
    for _ in range(2):  # Once more for what rounding has left.
        targets = targets - design @ (inverse @ (design.T @ targets))
    return targets


def _trailing_mean(values: Floats, length: int) -> Floats:
    """Mean of the newest `length` values; of all there are, until there are as many."""
    total = np.cumsum(values)
    total[length:] = total[length:] - total[:-length]
    return np.asarray(total / np.minimum(np.arange(1, len(values) + 1), length))


def _ranks(values: Floats) -> Floats:
    """Ranks, their mean where values are tied, centred and of unit length; 0 where all are tied."""
    order = np.argsort(values)
    ordered = values[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((edges[:-1] + edges[1:]) / 2.0, np.diff(edges))
    return _unit(ranks)


def _clipped(values: Floats) -> Floats:
    """Values with no outlier beyond five standard deviations, centred and of unit length."""
    centred = values - values.mean()
    limit = 5.0 * float(centred.std())
    return _unit(np.clip(centred, -limit, limit))


def _unit(values: Floats) -> Floats:
    """Centred and of unit length; 0 where nothing varies."""
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0.0 else np.zeros(len(values))
