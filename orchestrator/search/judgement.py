"""How good an ensemble is, and how much of that is luck: what the gate is told."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.core.dataset import Dataset
from orchestrator.core.deflation import Cohort, expected_maximum, moments, psr, trial_variance
from orchestrator.core.draft import Assembled
from orchestrator.core.gate import REQUIRED
from orchestrator.core.profit import aligned
from orchestrator.core.scoring import History, trade
from orchestrator.store.ledger import LedgerRow
from schemas.base import Reason
from schemas.experiments import GateVerdict


@dataclass(frozen=True)
class Luck:
    """N and V of the deflation: configurations ever scored on some tickers, and the variance of their Sharpe ratios.

    `by_ticker` is the same of each ticker alone, where each has picks of its own; empty where there is one ticker, or
    trials were picked on all of them at once.
    """

    trials: int
    variance: float
    by_ticker: Mapping[str, "Luck"] = field(default_factory=dict)

    def benchmark(self, shares: Mapping[str, float] | None = None) -> float:
        """SR*: the Sharpe ratio per session that luck would show of a profit whose parts have these shares.

        It is what the best of all trials would show. The best of each ticker together show more, though: on average
        each earns its own ticker's SR* times its deviation, and where their profits are not alike, the deviation of the
        whole is less than the sum of theirs. With T tickers that have nothing in common, that is sqrt(T) as much.

        Args:
            shares: by ticker, the deviation of its profit by session as a share of the whole's; None: of one trial.
        """
        best = expected_maximum(self.trials, self.variance)
        if not self.by_ticker:
            return best
        return max(best, sum(share * self.by_ticker[ticker].benchmark() for ticker, share in (shares or {}).items()))


@dataclass(frozen=True, eq=False)
class Portfolio:
    """Net profit by session (n_sessions,), and by ticker the deviation of its part as a share of the whole's."""

    profit: Floats
    shares: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Profit:
    """What an ensemble earns on all of its tickers together: `total`, and what is beyond holding its mean positions."""

    total: Portfolio
    active: Portfolio


def luck_of(rows: Sequence[LedgerRow], *, together: bool = False) -> Luck:
    """The luck that the ledger of some tickers' lineages tells of.

    Args:
        rows: of the ledger. A configuration that was scored on several tickers at once has a row of each, but is one.
        together: what is judged was picked on all tickers at once, not on each by itself.
    """
    tickers: dict[str, list[LedgerRow]] = defaultdict(list)
    for row in rows:
        tickers[row.ticker].append(row)
    apart = {} if together or len(tickers) < 2 else {ticker: luck_of(own) for ticker, own in tickers.items()}
    cohorts: dict[str, list[LedgerRow]] = defaultdict(list)
    for row in rows:
        cohorts[row.span_digest].append(row)
    sharpes = [row.sharpe_per_session for row in rows if row.sharpe_per_session is not None]
    variance = trial_variance(
        sharpes,
        [Cohort(np.stack([row.profit for row in own]), [row.ticker for row in own]) for own in cohorts.values()],
    )
    return Luck(len({row.fingerprint for row in rows}), variance, apart)


def deflated(profit: Floats, luck: Luck) -> float | None:
    """The deflated Sharpe ratio of one trial's profit by session (n,); None where it is not defined."""
    observed = moments(profit)
    return None if observed is None else psr(observed, luck.benchmark())


def profit_of(
    assembled: Assembled,
    scores: Mapping[str, tuple[Times, Floats]],
    datasets: Mapping[str, Dataset],
    cost: Mapping[str, float],
) -> Profit:
    """What following an ensemble's scores would have earned on all of its tickers together.

    Each ticker has the same risk: its stake is the inverse of its bars' deviation before the first score, which was
    known then. Stakes sum to 1. A ticker is flat in sessions that it lacks.

    Args:
        assembled: the ensemble, for its thresholds.
        scores: by ticker, event times and scores, as `Assembled.scores`.
        datasets: by ticker, with rows of those event times.
        cost: by ticker, of a change of position by one unit, as a fraction.
    """
    histories: dict[str, History] = {}
    inverse: list[float] = []
    for ticker, (times, score) in scores.items():
        dataset = datasets[ticker]
        rows = np.searchsorted(dataset.event_time, times)
        histories[ticker] = trade(
            dataset,
            rows,
            score,
            threshold=assembled.threshold,
            exit_threshold=assembled.exit_threshold,
            cost=cost[ticker],
        )
        before = dataset.bar_return[: rows[0]]
        inverse.append(1.0 / (float(np.std(before[np.isfinite(before)])) or 1.0))
    stakes = dict(zip(histories, (np.asarray(inverse) / np.sum(inverse)).tolist(), strict=True))
    return Profit(
        _portfolio(
            {ticker: (each.session_ids, stakes[ticker] * each.session_profit) for ticker, each in histories.items()}
        ),
        _portfolio(
            {ticker: (each.session_ids, stakes[ticker] * each.active_profit) for ticker, each in histories.items()}
        ),
    )


def nothing_to_judge(luck: Luck) -> GateVerdict:
    """The verdict where no trial survived."""
    message = "no trial is eligible and has a score; look at the trials' reasons, then widen the grid or the data"
    return GateVerdict(
        passed=False,
        deflated_sharpe=None,
        active_deflated_sharpe=None,
        trials=luck.trials,
        benchmark_sharpe=luck.benchmark(),
        sharpe_ratio=None,
        sessions=0,
        required=REQUIRED,
        reasons=(Reason(code="no_survivors", message=message),),
    )


def _portfolio(parts: Mapping[str, tuple[Integers, Floats]]) -> Portfolio:
    _, profits = aligned(list(parts.values()))
    whole = profits.sum(axis=0)
    deviation = float(np.std(whole))
    shares = np.std(profits, axis=1) / deviation if deviation else np.zeros(len(profits))
    return Portfolio(whole, dict(zip(parts, shares.tolist(), strict=True)))
