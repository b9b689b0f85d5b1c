"""What following the signals would have earned: the same positions, costs and Sharpe as the search's own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.dataset import Dataset
from orchestrator.core.metrics import score
from orchestrator.core.profit import net_returns
from schemas.base import parse_instant


@dataclass(frozen=True)
class Outcome:
    """One ticker's feed. Ratios are annualised; None where they are not defined."""

    ticker: str
    signals: Mapping[str, int]
    abstained: int
    hit_rate: float | None
    net_sharpe: float | None
    buy_and_hold_sharpe: float | None
    trades: float | None


def held(decisions: Sequence[Mapping[str, Any]], event_time: NDArray[np.datetime64]) -> NDArray[np.int8]:
    """What an engine held after each bar, (n,): the newest target position so far, 0 before the first."""
    targets = {
        np.datetime64(parse_instant(each["event_time"]).replace(tzinfo=None), "us"): each["target_position"]
        for each in decisions
        if each["target_position"] is not None
    }
    position = np.zeros(len(event_time), dtype=np.int8)
    newest = 0
    for row, moment in enumerate(event_time.astype("datetime64[us]")):
        newest = targets.get(moment, newest)
        position[row] = newest
    return position


def outcome(dataset: Dataset, decisions: Sequence[Mapping[str, Any]], *, cost: float) -> Outcome:
    """Score a ticker's decisions on the bars of the feed.

    Args:
        dataset: the feed's bars, ascending.
        decisions: the ticker's signals as the engine consumed them.
        cost: of a change of position by one unit, as a fraction.
    """
    known = np.isfinite(dataset.bar_return)
    returns, session = dataset.bar_return[known], dataset.session[known]
    position = held(decisions, dataset.event_time)[known]

    def metrics(positions: NDArray[np.int8]) -> dict[str, float | None]:
        return score(net_returns(positions, returns, cost), returns, positions, session, dataset.sessions_per_year)

    following = metrics(position)
    holding = metrics(np.ones(len(returns), dtype=np.int8))
    return Outcome(
        ticker=dataset.ticker,
        signals=Counter(str(each["signal"]) for each in decisions),
        abstained=sum(each["target_position"] is None for each in decisions),
        hit_rate=following["hit_rate"],
        net_sharpe=following["sharpe_ratio"],
        buy_and_hold_sharpe=holding["sharpe_ratio"],
        trades=following["trades"],
    )
