"""What an experiment works on: its rows, its rules and its planned trials, before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.algorithms.base import Trainer
from orchestrator.core import grid
from orchestrator.core.admission import grid_of
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import Calendar, calendar_named
from orchestrator.core.canonical import fingerprint, lineage_key
from orchestrator.core.dataset import Dataset, Terms, holdout_start, prepare, terms_of
from orchestrator.core.errors import Refused
from orchestrator.core.splits import FoldPlan
from orchestrator.features.source import FeatureSource
from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.plan import Configuration, PlannedTrial, trials_of
from orchestrator.search.settings import DriverSettings
from schemas.base import Reason
from schemas.search import MetricName, SearchRequest


@dataclass(frozen=True, eq=False)
class Holdout:
    """One ticker's rows with the hold-out, which begins at row `start`; no trial sees them."""

    dataset: Dataset
    start: int


@dataclass(frozen=True, eq=False)
class Study:
    """An experiment's work. `grounds` end where the hold-outs begin; without a hold-out, `holdouts` is empty."""

    request: SearchRequest
    metric: MetricName
    mode: Literal["max", "min"]
    terms: Terms
    rules: Rules
    lineage: str
    grounds: Mapping[str, Ground]
    holdouts: Mapping[str, Holdout]
    trials: tuple[PlannedTrial, ...]

    @property
    def data_hash(self) -> dict[str, str]:
        """Of the rows that trials see, by ticker."""
        return {ticker: ground.dataset.data_hash for ticker, ground in self.grounds.items()}


def load(source: FeatureSource, request: SearchRequest) -> dict[str, Bars]:
    """The bars that a request is about, by ticker.

    Raises:
        Refused: with the faults of all tickers.
    """
    bars: dict[str, Bars] = {}
    faults: list[Reason] = []
    for ticker in request.tickers:
        try:
            bars[ticker] = source.load(ticker, request.timeframe, request.data_start, request.data_end)
        except Refused as refused:
            faults += refused.reasons
    if faults:
        raise Refused(faults)
    return bars


def study_of(request: SearchRequest, bars: Mapping[str, Bars], trainer: Trainer, settings: DriverSettings) -> Study:
    """Turn a request and its bars, by ticker, into rows, rules and trials.

    Raises:
        Refused: the bars cannot be searched on as the request asks; with the faults of all tickers.
    """
    calendar = calendar_named(settings.calendar)
    terms = terms_of(request, has_open=all(each.open is not None for each in bars.values()))
    folds = FoldPlan()
    grounds: dict[str, Ground] = {}
    holdouts: dict[str, Holdout] = {}
    faults: list[Reason] = []
    for ticker in request.tickers:
        try:
            start = holdout_start(bars[ticker], request.holdout, calendar)
            grounds[ticker] = _ground(bars[ticker], start, terms, folds, calendar, request.costs.of(ticker))
            if request.holdout:
                holdouts[ticker] = Holdout(prepare(bars[ticker], terms, calendar), start)
        except Refused as refused:
            faults += (_told_of(ticker, reason) for reason in refused.reasons)
    if faults:
        raise Refused(faults)
    exit_threshold = settings.threshold / 2 if request.exit_threshold is None else request.exit_threshold
    rules = Rules(request.algorithm, request.seed, settings.threshold, exit_threshold)

    def fingerprint_of(ticker: str, configuration: Configuration) -> str:
        return fingerprint(
            configuration,
            algorithm=request.algorithm,
            algorithm_version=trainer.version,
            data_hash=grounds[ticker].dataset.data_hash,
            ticker=ticker,
            timeframe=request.timeframe,
            terms=terms,
            folds=folds,
            cost=grounds[ticker].cost,
            threshold=rules.threshold,
            exit_threshold=rules.exit_threshold,
            seed=rules.seed,
            digits=settings.float_digits,
        )

    configurations = grid.expand(grid_of(request, trainer), digits=settings.float_digits)
    return Study(
        request=request,
        metric=request.metric or settings.metric,
        mode=request.mode or settings.mode,
        terms=terms,
        rules=rules,
        lineage=lineage_key(request.tickers, timeframe=request.timeframe, terms=terms),
        grounds=grounds,
        holdouts=holdouts,
        trials=trials_of(request.tickers, configurations, fingerprint_of),
    )


def _ground(bars: Bars, start: int, terms: Terms, folds: FoldPlan, calendar: Calendar, cost: float) -> Ground:
    # Cut off before targets are made, so that none of them reaches into the hold-out.
    dataset = prepare(bars if start == len(bars) else bars.head(start), terms, calendar)
    return Ground(dataset, folds.split(dataset.label_end), cost)


def _told_of(ticker: str, reason: Reason) -> Reason:
    return reason if ticker in reason.where else reason.model_copy(update={"where": f"{ticker} {reason.where}".strip()})
