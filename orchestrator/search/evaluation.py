"""Evaluating a block of trials: training, out-of-fold prediction, score. Neither Ray nor files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.algorithms.base import Trainer
from orchestrator.core.arrays import Floats
from orchestrator.core.dataset import Dataset
from orchestrator.core.errors import Refused
from orchestrator.core.scoring import evaluate_history
from orchestrator.core.splits import Fold
from orchestrator.search.outcomes import Failed, Scored
from orchestrator.search.plan import Block, PlannedTrial
from schemas.base import Reason

MESSAGE_LENGTH = 1000


@dataclass(frozen=True, eq=False)
class Ground:
    """What every trial of one ticker is evaluated on."""

    dataset: Dataset
    folds: tuple[Fold, ...]
    cost: float
    """Of a change of position by one unit, as a fraction."""


@dataclass(frozen=True)
class Rules:
    """What every trial of an experiment is evaluated by."""

    algorithm: str
    seed: int
    threshold: float
    exit_threshold: float


def evaluate(
    block: Block, ground: Ground, rules: Rules, trainer: Trainer, clock: Callable[[], float]
) -> tuple[Scored | Failed, ...]:
    """Train and score a block's trials, in their order.

    They are trained together. Where that fails they are trained one by one, so that the guilty one fails alone.

    Args:
        block: trials of the ground's ticker.
        ground: the rows, the folds and the cost.
        rules: the seed and the thresholds.
        trainer: of the rules' algorithm.
        clock: seconds from any fixed moment; a trial is charged its share of a training it shared.
    """
    began = clock()
    try:
        predictions = _predict(block.trials, ground, rules, trainer)
        outcomes = [_score(trial, row, ground, rules) for trial, row in zip(block.trials, predictions, strict=True)]
    except Exception as error:  # noqa: BLE001 - an algorithm may raise anything; it becomes the trial's reason
        if len(block.trials) == 1:
            return (Failed(block.trials[0].trial, reasons_of(error), clock() - began),)
        alone = (Block(block.number, block.ticker, (trial,)) for trial in block.trials)
        return tuple(outcome for single in alone for outcome in evaluate(single, ground, rules, trainer, clock))
    share = (clock() - began) / len(block.trials)
    return tuple(outcome(share) for outcome in outcomes)


def reasons_of(error: BaseException) -> tuple[Reason, ...]:
    """Why something failed, as an event says it."""
    if isinstance(error, Refused) and error.reasons:
        return error.reasons
    message = f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH]
    return (Reason(code="unexpected_error", message=message),)


def _predict(trials: Sequence[PlannedTrial], ground: Ground, rules: Rules, trainer: Trainer) -> Floats:
    configurations = [trial.configuration for trial in trials]
    dataset = ground.dataset
    return trainer.evaluate(configurations, dataset.features, dataset.target, ground.folds, rules.seed)


def _score(trial: PlannedTrial, prediction: Floats, ground: Ground, rules: Rules) -> Callable[[float], Scored]:
    """The trial's score, still without the seconds it took."""
    history = evaluate_history(
        ground.dataset,
        ground.folds,
        prediction,
        threshold=rules.threshold,
        exit_threshold=rules.exit_threshold,
        cost=ground.cost,
    )
    return lambda seconds: Scored(
        trial=trial.trial,
        metrics=history.metrics,
        eligible=history.eligible,
        reasons=history.reasons,
        prediction=prediction,
        session_ids=history.session_ids,
        session_profit=history.session_profit,
        seconds=seconds,
    )
