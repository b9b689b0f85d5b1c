"""How good an ensemble is, and how much of that is luck: what the gate is told."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.arrays import Floats, Times
from orchestrator.core.dataset import Dataset
from orchestrator.core.deflation import deflated_sharpe, expected_maximum, moments, trial_variance
from orchestrator.core.draft import Assembled
from orchestrator.core.gate import REQUIRED
from orchestrator.core.profit import combined
from orchestrator.core.scoring import History, trade
from orchestrator.store.ledger import LedgerRow
from schemas.base import Reason
from schemas.experiments import GateVerdict


@dataclass(frozen=True)
class Luck:
    """N and V of the deflation: configurations ever scored in a lineage, and the variance of their Sharpe ratios."""

    trials: int
    variance: float


@dataclass(frozen=True, eq=False)
class Profit:
    """An ensemble's net profit by session (n_sessions,): `total`, and what is beyond holding its mean position."""

    total: Floats
    active: Floats


def luck_of(rows: Sequence[LedgerRow]) -> Luck:
    """The luck that a lineage's ledger tells of."""
    spans: dict[str, list[Floats]] = defaultdict(list)
    for row in rows:
        spans[row.span_digest].append(row.profit.astype(np.float64))
    sharpes = [row.sharpe_per_session for row in rows if row.sharpe_per_session is not None]
    return Luck(len(rows), trial_variance(sharpes, [np.stack(profits) for profits in spans.values()]))


def deflated(profit: Floats, luck: Luck) -> float | None:
    """The deflated Sharpe ratio of profit by session (n,); None where it is not defined."""
    observed = moments(profit)
    return None if observed is None else deflated_sharpe(observed, luck.trials, luck.variance)


def profit_of(
    assembled: Assembled,
    scores: Mapping[str, tuple[Times, Floats]],
    datasets: Mapping[str, Dataset],
    cost: Mapping[str, float],
) -> Profit:
    """What following an ensemble's scores would have earned on all of its tickers together.

    Each ticker has the same risk: its stake is the inverse of its bars' deviation before the first score, which was
    known then. Stakes are 1 in the mean.

    Args:
        assembled: the ensemble, for its thresholds.
        scores: by ticker, event times and scores, as `Assembled.scores`.
        datasets: by ticker, with rows of those event times.
        cost: by ticker, of a change of position by one unit, as a fraction.
    """
    histories: list[History] = []
    inverse: list[float] = []
    for ticker, (times, score) in scores.items():
        dataset = datasets[ticker]
        rows = np.searchsorted(dataset.event_time, times)
        histories.append(
            trade(
                dataset,
                rows,
                score,
                threshold=assembled.threshold,
                exit_threshold=assembled.exit_threshold,
                cost=cost[ticker],
            )
        )
        before = dataset.bar_return[: rows[0]]
        inverse.append(1.0 / (float(np.std(before[np.isfinite(before)])) or 1.0))
    stakes = np.asarray(inverse) / np.mean(inverse)
    staked = list(zip(histories, stakes.tolist(), strict=True))
    total = combined([(history.session_ids, stake * history.session_profit) for history, stake in staked])
    active = combined([(history.session_ids, stake * history.active_profit) for history, stake in staked])
    return Profit(total[1], active[1])


def nothing_to_judge(luck: Luck) -> GateVerdict:
    """The verdict where no trial survived."""
    message = "no trial is eligible and has a score; look at the trials' reasons, then widen the grid or the data"
    return GateVerdict(
        passed=False,
        deflated_sharpe=None,
        active_deflated_sharpe=None,
        trials=luck.trials,
        benchmark_sharpe=expected_maximum(luck.trials, luck.variance),
        sharpe_ratio=None,
        sessions=0,
        required=REQUIRED,
        reasons=(Reason(code="no_survivors", message=message),),
    )
