"""Evaluating a job: training, out-of-fold prediction, score. Neither Ray nor files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np

from orchestrator.algorithms.base import Predictor, Trainer
from orchestrator.algorithms.walk import Walk
from orchestrator.core.arrays import Floats
from orchestrator.core.dataset import Dataset
from orchestrator.core.errors import Refused
from orchestrator.core.metrics import OBJECTIVE
from orchestrator.core.scoring import History, evaluate_history
from orchestrator.core.splits import Fold
from orchestrator.search.outcomes import Earned, Failed, Scored
from orchestrator.search.plan import Job, State, Step
from orchestrator.search.streamed import Kept, Streamed
from orchestrator.search.streamed_walk import StreamedWalk
from schemas.base import Reason

MESSAGE_LENGTH = 1000


@dataclass(frozen=True, eq=False)
class Ground:
    """What every trial of one ticker is evaluated on."""

    dataset: Dataset
    folds: tuple[Fold, ...]
    cost: float
    """Of a change of position by one unit, as a fraction."""
    streamed: Streamed | None = None
    """Where the features are, if the dataset holds none."""


@dataclass(frozen=True)
class Rules:
    """What every trial of an experiment is evaluated by."""

    algorithm: str
    seed: int
    threshold: float
    exit_threshold: float
    metric: str = "sharpe_ratio"
    higher_is_better: bool = True


@dataclass(eq=False)
class Bench:
    """What a worker keeps from job to job: the grounds that it has met, with their training sets prepared."""

    trainer: Trainer
    rules: Rules
    ground_of: Callable[[str], Ground]
    clock: Callable[[], float]
    """Seconds from any fixed moment."""
    threads: int = 1
    _met: dict[str, tuple[Ground, Walk | StreamedWalk]] = field(default_factory=dict)

    def ground(self, ticker: str) -> tuple[Ground, Walk | StreamedWalk]:
        """The ground of a ticker, and a walk over its folds."""
        if ticker not in self._met:
            ground = self.ground_of(ticker)
            self._met[ticker] = (ground, self._walk(ground))
        return self._met[ticker]

    def _walk(self, ground: Ground) -> Walk | StreamedWalk:
        if ground.streamed is not None:
            return StreamedWalk(self.trainer, ground, self.threads)
        rows, seed = ground.dataset, self.rules.seed
        return Walk(
            self.trainer, rows.features, rows.target, ground.folds, rows.feature_names, seed=seed, threads=self.threads
        )


def evaluate(job: Job, bench: Bench) -> tuple[Scored | Failed, ...]:
    """Train and score a job's steps, in their order.

    They are trained together. Where that fails they are trained one by one, so that the guilty one fails alone. Each is
    charged its share of the time.
    """
    began = bench.clock()
    try:
        parts = [_trained(job.steps, ticker, bench) for ticker in job.tickers]
        trained = bench.clock() - began
        scores = [_score(step, row, parts, bench) for row, step in enumerate(job.steps)]
    except Exception as error:  # noqa: BLE001 - an algorithm may raise anything; it becomes the trial's reason
        if len(job.steps) == 1:
            return (Failed(job.steps[0].trial.trial, reasons_of(error), bench.clock() - began),)
        alone = (Job(job.number, (step,)) for step in job.steps)
        return tuple(outcome for single in alone for outcome in evaluate(single, bench))
    share = len(job.steps)
    seconds = bench.clock() - began
    return tuple(replace(score, seconds=seconds / share, training=trained / share) for score in scores)


def reasons_of(error: BaseException) -> tuple[Reason, ...]:
    """Why something failed, as an event says it."""
    if isinstance(error, Refused) and error.reasons:
        return error.reasons
    message = f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH]
    return (Reason(code="unexpected_error", message=message),)


def objective_of(metrics: Sequence[Mapping[str, float | None]], metric: str, *, higher_is_better: bool) -> float | None:
    """Mean plus worst over tickers; None where one of them has none."""
    values = [value for each in metrics if (value := each.get(metric)) is not None]
    if len(values) < len(metrics):
        return None
    return float(np.mean(values)) + (min(values) if higher_is_better else max(values))


@dataclass(frozen=True, eq=False)
class _Part:
    """The steps of a job on one ticker: predictions (k, n_oof), and by step its predictors by fold."""

    ticker: str
    ground: Ground
    predictions: Floats | Sequence[Kept]
    predictors: Sequence[Sequence[Predictor]]


def _trained(steps: Sequence[Step], ticker: str, bench: Bench) -> _Part:
    ground, walk = bench.ground(ticker)
    first = steps[0]
    predictors: Sequence[Sequence[Predictor]] | None = None
    left = range(len(first.stages))
    if first.start is not None:
        predictors = [_loaded(step.start, ticker, bench.trainer) for step in steps]
        left = left[-1:]
    for place in left:
        stages = [step.stages[place] for step in steps]
        predictions, predictors = walk.forward(
            [stage.configuration for stage in stages], budget=stages[0].budget, starts=predictors
        )
    if predictors is None:
        raise ValueError(f"{first.trial.trial} has no stage to be trained by")
    return _Part(ticker, ground, predictions, predictors)


def _loaded(start: State | None, ticker: str, trainer: Trainer) -> list[Predictor]:
    if start is None:
        raise ValueError("steps that go on and steps that begin cannot share a job")
    return [trainer.load(dumped) for dumped in start[ticker]]


def _score(step: Step, row: int, parts: Sequence[_Part], bench: Bench) -> Scored:
    """A step's score, still without the seconds it took. It keeps no history: many would fill memory."""
    rules = bench.rules
    histories = [
        evaluate_history(
            part.ground.dataset,
            part.ground.folds,
            np.asarray(part.predictions[row]),
            threshold=rules.threshold,
            exit_threshold=rules.exit_threshold,
            cost=part.ground.cost,
        )
        for part in parts
    ]
    state = None
    if not step.last and bench.trainer.budget.accumulates:
        state = {part.ticker: tuple(each.dump() for each in part.predictors[row]) for part in parts}
    return Scored(
        trial=step.trial.trial,
        step=step.number,
        budget=step.stages[-1].budget,
        last=step.last,
        metrics=_metrics(histories, rules),
        eligible=all(history.eligible for history in histories),
        reasons=tuple(
            reason if len(parts) == 1 else reason.model_copy(update={"where": f"{part.ticker} {reason.where}"})
            for part, history in zip(parts, histories, strict=True)
            for reason in history.reasons
        ),
        prediction=_joined([part.predictions[row] for part in parts]),
        earned=tuple(
            Earned(part.ticker, history.session_ids, history.session_profit)
            for part, history in zip(parts, histories, strict=True)
        ),
        seconds=0.0,
        state=state,
        fingerprint=step.fingerprint,
    )


def _joined(predictions: Sequence[Floats | Kept]) -> Floats | Kept:
    """One ticker after the other; those that are kept in files stay there."""
    kept = [each for each in predictions if isinstance(each, Kept)]
    if kept:
        return reduce(add, kept)
    return predictions[0] if len(predictions) == 1 else np.concatenate([np.asarray(each) for each in predictions])


def _metrics(histories: Sequence[History], rules: Rules) -> dict[str, float | None]:
    """Of one ticker as they are; of several their means, and the objective."""
    if len(histories) == 1:
        return dict(histories[0].metrics)
    each = [history.metrics for history in histories]
    means = {name: _mean([metrics[name] for metrics in each]) for name in each[0]}
    return means | {OBJECTIVE: objective_of(each, rules.metric, higher_is_better=rules.higher_is_better)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
