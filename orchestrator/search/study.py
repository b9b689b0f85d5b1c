"""What an experiment works on: its rows, its rules and what makes two of its trials the same, before any training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from orchestrator.algorithms.base import Trainer
from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import DEFAULT_CALENDAR, Calendar, calendar_named
from orchestrator.core.canonical import fingerprint, lineage_key
from orchestrator.core.dataset import Dataset, Terms, holdout_start, prepare, terms_of
from orchestrator.core.errors import Refused
from orchestrator.core.lookahead import suspects
from orchestrator.core.metrics import OBJECTIVE, is_together
from orchestrator.core.splits import FoldPlan
from orchestrator.features.blocks import Stream
from orchestrator.features.streaming import samples
from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.plan import PlannedTrial, Stage
from orchestrator.search.settings import DriverSettings
from orchestrator.search.streamed import streamed
from schemas.base import Reason
from schemas.search import SearchRequest


@dataclass(frozen=True, eq=False)
class Holdout:
    """One ticker's rows with the hold-out, which begins at row `start`; no trial sees them."""

    dataset: Dataset
    start: int
    stream: Stream | None = None
    """Where the features are, if the dataset holds none."""

    def features(self) -> Iterator[Floats]:
        """Features (m, f) of the hold-out's rows, a few after the other."""
        if self.stream is None:
            yield self.dataset.features[self.start :]
        else:
            yield from self.stream.in_order(self.dataset.event_time[self.start :])


@dataclass(frozen=True, eq=False)
class Study:
    """An experiment's work. `grounds` end where the hold-outs begin; without a hold-out, `holdouts` is empty."""

    request: SearchRequest
    metric: str
    """What trials are compared by: the metric asked for, or the objective made of it on several tickers at once."""
    mode: Literal["max", "min"]
    terms: Terms
    folds: FoldPlan
    rules: Rules
    algorithm_version: str
    float_digits: int
    lineages: Mapping[str, str]
    """By ticker."""
    grounds: Mapping[str, Ground]
    holdouts: Mapping[str, Holdout]
    calendar: str = DEFAULT_CALENDAR

    @property
    def data_hash(self) -> dict[str, str]:
        """Of the rows that trials see, by ticker."""
        return {ticker: ground.dataset.data_hash for ticker, ground in self.grounds.items()}

    @property
    def streamed(self) -> bool:
        """Whether its rows are larger than memory."""
        return any(ground.streamed is not None for ground in self.grounds.values())

    @property
    def together(self) -> bool:
        """Whether a trial is one configuration on all tickers."""
        return is_together(self.request)

    def fingerprint(self, trial: PlannedTrial, stages: Sequence[Stage]) -> str:
        """What makes a trial the same work as another, so far: all `stages` that it is trained by."""
        in_one_go = len(stages) == 1 and stages[0].budget is None
        one = len(trial.tickers) == 1
        costs = [self.grounds[ticker].cost for ticker in trial.tickers]
        hashes = [self.grounds[ticker].dataset.data_hash for ticker in trial.tickers]
        return fingerprint(
            trial.configuration,
            algorithm=self.request.algorithm,
            algorithm_version=self.algorithm_version,
            data_hash=hashes[0] if one else hashes,
            ticker=trial.tickers[0] if one else trial.tickers,
            timeframe=self.request.timeframe,
            terms=self.terms,
            folds=self.folds,
            cost=costs[0] if one else costs,
            threshold=self.rules.threshold,
            exit_threshold=self.rules.exit_threshold,
            seed=self.rules.seed,
            calendar=self.calendar,
            objective=None if one else (self.rules.metric, self.mode),
            stages=() if in_one_go else [(stage.configuration, stage.budget) for stage in stages],
            digits=self.float_digits,
        )


def study_of(
    request: SearchRequest,
    bars: Mapping[str, Bars],
    trainer: Trainer,
    settings: DriverSettings,
    streams: Mapping[str, Stream] = MappingProxyType({}),
    folder: Path = Path(),
    *,
    judges: bool = True,
) -> Study:
    """Turn a request and its bars into rows and rules.

    Args:
        request: what is searched for.
        bars: by ticker.
        trainer: the family.
        settings: for what the request leaves open.
        streams: by ticker the features that go by; these bars have none.
        folder: for predictions over these, as long as they are not recorded.
        judges: whether features are looked at that may know the future. Whoever trains nothing need not: results that
            are known by their fingerprints are of these very bars, and whoever trained them has looked.

    Raises:
        Refused: the bars cannot be searched on as the request asks, or a feature knows the future; with the faults of
            all tickers.
    """
    calendar = calendar_named(settings.calendar)
    terms = terms_of(request, has_open=all(each.open is not None for each in bars.values()))
    folds = FoldPlan()
    grounds: dict[str, Ground] = {}
    holdouts: dict[str, Holdout] = {}
    faults: list[Reason] = []
    for ticker in request.tickers:
        try:
            faults += _suspects(bars[ticker], streams.get(ticker)) if judges else ()
            start = holdout_start(bars[ticker], request.holdout, calendar)
            dataset = _dataset(bars[ticker], start, terms, calendar)
            split, cost = folds.split(dataset.label_end), request.costs.of(ticker)
            if ticker in streams:
                without, tests, way = streamed(dataset, split, streams[ticker], folder)
                grounds[ticker] = Ground(without, tests, cost, way)
            else:
                grounds[ticker] = Ground(dataset, split, cost)
            if request.holdout:
                holdouts[ticker] = Holdout(prepare(bars[ticker], terms, calendar), start, streams.get(ticker))
        except Refused as refused:
            faults += (_told_of(ticker, reason) for reason in refused.reasons)
    if faults:
        raise Refused(faults)
    exit_threshold = settings.threshold / 2 if request.exit_threshold is None else request.exit_threshold
    metric, mode = request.metric or settings.metric, request.mode or settings.mode
    rules = Rules(request.algorithm, request.seed, settings.threshold, exit_threshold, metric, mode == "max")
    return Study(
        request=request,
        metric=OBJECTIVE if is_together(request) else metric,
        mode=mode,
        terms=terms,
        folds=folds,
        rules=rules,
        algorithm_version=trainer.version,
        float_digits=settings.float_digits,
        lineages={ticker: lineage_key(ticker, timeframe=request.timeframe, terms=terms) for ticker in request.tickers},
        grounds=grounds,
        holdouts=holdouts,
        calendar=settings.calendar,
    )


def _dataset(bars: Bars, start: int, terms: Terms, calendar: Calendar) -> Dataset:
    # Cut off before targets are made, so that none of them reaches into the hold-out.
    return prepare(bars if start == len(bars) else bars.head(start), terms, calendar)


def _suspects(bars: Bars, features: Stream | None) -> tuple[Reason, ...]:
    """Features that know the future; of those that go by, samples are looked at."""
    if features is None:
        return suspects(bars)
    found: dict[str, Reason] = {}
    for sample in samples(bars, features):
        for reason in suspects(sample, whole=False):
            found.setdefault(reason.where, reason)
    return tuple(found.values())


def _told_of(ticker: str, reason: Reason) -> Reason:
    return reason if ticker in reason.where else reason.model_copy(update={"where": f"{ticker} {reason.where}".strip()})
