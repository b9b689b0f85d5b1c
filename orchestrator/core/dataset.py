"""Datasets: what is predicted from bars, what holding a position over a bar returns, how far a label looks ahead."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.core.arrays import Flags, Floats, Integers, Times
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import Calendar, is_intraday
from orchestrator.core.errors import Refused
from schemas.base import Reason
from schemas.search import SearchRequest

Transform = Literal["log_return", "return"]
Execution = Literal["next_open", "next_close", "same_close"]
SessionPolicy = Literal["hold", "flat_at_close"]

DAILY_HORIZON = 1
INTRADAY_HORIZON = 12


@dataclass(frozen=True)
class Terms:
    """What is predicted, and how a prediction is traded.

    `horizon` is in bars. Decided at the close of bar t, a position is taken at the open of t+1 (next_open), the close
    of t+1 (next_close) or the close of t (same_close), and held for a bar; the target runs from the same price to the
    one `horizon` bars later.
    """

    transform: Transform = "log_return"
    horizon: int = DAILY_HORIZON
    execution: Execution = "next_open"
    session_policy: SessionPolicy = "hold"

    @property
    def delay(self) -> int:
        """Bars between the decision and the bar whose price it is traded at."""
        return 0 if self.execution == "same_close" else 1


def terms_of(request: SearchRequest, *, has_open: bool) -> Terms:
    """The request's terms, with defaults by timeframe and by whether the bars have opens where it is silent."""
    intraday = is_intraday(request.timeframe)
    return Terms(
        transform=request.target_transform,
        horizon=request.horizon or (INTRADAY_HORIZON if intraday else DAILY_HORIZON),
        execution=request.execution or ("next_open" if has_open else "next_close"),
        session_policy=request.session_policy or ("flat_at_close" if intraday else "hold"),
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """One ticker's rows to learn from and to trade, oldest first; row t is decided at the close of bar t.

    `session` (n,) numbers the calendar's sessions. `target` (n,) is NaN where unknown. `bar_return` (n,) is the simple
    return of the bar over which the position decided at t is held, NaN where unknown, 0 where `flat`. `flat` (n,) marks
    rows whose position must be 0, since it would be held over a session's close that the policy forbids. `label_end`
    (n,) is the last bar that the target touches, n where the target is unknown: such a row never trains.
    """

    ticker: str
    timeframe: str
    event_time: Times
    session: Integers
    features: Floats
    target: Floats
    bar_return: Floats
    flat: Flags
    label_end: Integers
    feature_names: tuple[str, ...]
    data_hash: str
    sessions_per_year: float

    def __len__(self) -> int:
        return len(self.event_time)


def prepare(bars: Bars, terms: Terms, calendar: Calendar) -> Dataset:
    """Work out targets, bar returns and label ends; no value of row t uses a price after its `label_end`.

    Raises:
        Refused: no row has a known target (`too_few_bars`, `flat_at_close_needs_intraday`), opens are asked for that
            the bars lack (`no_opens`), or a bar lies outside the calendar (`outside_calendar`).
    """
    where = f"{bars.ticker} {bars.timeframe}"
    if terms.session_policy == "flat_at_close" and not is_intraday(bars.timeframe):
        message = "bars of a day or more cannot be flat at the close; ask for session_policy hold"
        raise Refused((Reason(code="flat_at_close_needs_intraday", where=where, message=message),))
    price = bars.open if terms.execution == "next_open" else bars.close
    if price is None:
        message = "the bars have no opens; ask for execution next_close"
        raise Refused((Reason(code="no_opens", where=where, message=message),))
    session = calendar.session_index(bars.event_time)
    target, bar_return = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
    simple = _change(price, terms.delay, terms.horizon)
    target[: len(simple)] = np.log1p(simple) if terms.transform == "log_return" else simple
    held = _change(price, terms.delay, 1)
    bar_return[: len(held)] = held
    flat = np.zeros(len(bars), dtype=np.bool_)
    if terms.session_policy == "flat_at_close":
        flat = _crosses(session, terms.delay + 1)
        bar_return[flat] = 0.0
        target[_crosses(session, terms.delay + terms.horizon)] = np.nan
    label_end = np.arange(len(bars), dtype=np.int64) + terms.delay + terms.horizon
    known = np.isfinite(target)
    if not known.any():
        message = f"{len(bars)} bars leave no target {terms.horizon} bars ahead; give more bars or a shorter horizon"
        raise Refused((Reason(code="too_few_bars", where=where, message=message),))
    return Dataset(
        ticker=bars.ticker,
        timeframe=bars.timeframe,
        event_time=bars.event_time,
        session=session,
        features=bars.features,
        target=target,
        bar_return=bar_return,
        flat=flat,
        label_end=np.where(known, label_end, len(bars)),
        feature_names=bars.feature_names,
        data_hash=bars.data_hash,
        sessions_per_year=calendar.sessions_per_year,
    )


def holdout_start(bars: Bars, sessions: int, calendar: Calendar) -> int:
    """The first bar of the last `sessions` sessions; `bars.head` of it is what a search may see.

    Raises:
        Refused: nothing would be left before the hold-out (`holdout_too_long`).
    """
    if sessions == 0:
        return len(bars)
    session = calendar.session_index(bars.event_time)
    numbers = np.unique(session)
    if len(numbers) <= sessions:
        message = f"a hold-out of {sessions} sessions leaves nothing of {len(numbers)}; ask for fewer"
        raise Refused((Reason(code="holdout_too_long", where=f"{bars.ticker} {bars.timeframe}", message=message),))
    return int(np.searchsorted(session, numbers[-sessions]))


def _change(price: Floats, start: int, span: int) -> Floats:
    """Relative change from the price `start` bars ahead to the one `span` bars after that, as far as both are known."""
    count = len(price) - start - span
    if count <= 0:
        return np.empty(0)
    return price[start + span :] / price[start : start + count] - 1.0


def _crosses(session: Integers, ahead: int) -> Flags:
    """True where the bar `ahead` bars later is known and belongs to another session."""
    crosses = np.zeros(len(session), dtype=np.bool_)
    if ahead < len(session):
        crosses[:-ahead] = session[ahead:] != session[:-ahead]
    return crosses
