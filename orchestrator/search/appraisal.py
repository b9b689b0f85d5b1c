"""Making an ensemble of survivors, and following it over rows that it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from orchestrator.algorithms.base import Predictor, Trainer, Training
from orchestrator.core.arrays import Floats, Times
from orchestrator.core.draft import Assembled, Assembler
from orchestrator.core.gate import Span
from orchestrator.core.survivors import Selection
from orchestrator.search.evaluation import Ground
from orchestrator.search.judgement import Profit, profit_of
from orchestrator.search.plan import Step
from orchestrator.search.selection import draft_of, extended
from orchestrator.search.settings import DriverSettings
from orchestrator.search.streamed_walk import StreamedWalk
from orchestrator.search.study import Holdout, Study
from schemas.search import Deploy


@dataclass(frozen=True, eq=False)
class Appraisal:
    """An assembled ensemble and what following it would have earned, by session."""

    assembled: Assembled
    ensemble: str
    tickers: tuple[str, ...]
    members: int
    profit: Profit
    """Out of fold."""
    holdout: Floats | None
    """Over the hold-out (n_sessions,); None where nobody has looked at it."""
    sessions_per_year: float


def refit(study: Study, trainer: Trainer, steps: Sequence[Step], *, threads: int) -> dict[str, dict[str, Predictor]]:
    """Train trials on every row before the hold-out, through all stages that they were trained by.

    Args:
        study: the experiment's work.
        trainer: of its algorithm.
        steps: the last one of each trial.
        threads: cores that training may use.

    Returns:
        The predictors by trial and ticker.

    Raises:
        CannotTrain: one of them cannot be trained.
    """
    refitted: dict[str, dict[str, Predictor]] = {step.trial.trial: {} for step in steps}
    for ticker, ground in study.grounds.items():
        own = [step for step in steps if ticker in step.trial.tickers]
        if not own:
            continue
        training = _whole(ground, trainer, seed=study.rules.seed, threads=threads)
        for step in own:
            start: Predictor | None = None
            for stage in step.stages:
                (start,) = training.fit([stage.configuration], budget=stage.budget, starts=[start])
            if start is None:
                raise ValueError(f"{step.trial.trial} has no stage to be trained by")
            refitted[step.trial.trial][ticker] = start
    return refitted


def appraise(
    experiment: str,
    study: Study,
    survivors: Selection,
    predictors: Mapping[str, Mapping[str, Predictor]],
    deploy: Deploy,
    assembler: Assembler,
    settings: DriverSettings,
) -> Appraisal:
    """Assemble the ensemble that a request asks for, and follow it.

    The hold-out is left alone where the request does not deploy: each look makes the next one harder to pass.

    Raises:
        Refused: the survivors cannot form an ensemble.
    """
    draft = draft_of(experiment, study, survivors, predictors, deploy, settings)
    assembled = assembler.assemble(draft)
    datasets = {ticker: ground.dataset for ticker, ground in study.grounds.items()}
    holdout = None
    if study.holdouts and deploy.auto:
        # Only the scores of this one are of use: what is deployed is calibrated without the hold-out.
        foreseen = assembler.assemble(extended(draft, study))
        whole = {ticker: each.dataset for ticker, each in study.holdouts.items()}
        holdout = profit_of(assembled, _later(foreseen, study), whole, draft.cost).total.profit
    return Appraisal(
        assembled=assembled,
        ensemble=draft.ensemble,
        tickers=tuple(draft.cost),
        members=len(draft.candidates),
        profit=profit_of(assembled, assembled.scores, datasets, draft.cost),
        holdout=holdout,
        sessions_per_year=next(iter(datasets.values())).sessions_per_year,
    )


def span_of(holdout: Holdout) -> Span:
    """The bars of one ticker's hold-out."""
    times = holdout.dataset.event_time[holdout.start :]
    return Span(_moment(times[0]), _moment(times[-1]))


def _whole(ground: Ground, trainer: Trainer, *, seed: int, threads: int) -> Training:
    """The training set of all of a ground's rows."""
    if ground.streamed is not None:
        return StreamedWalk(trainer, ground, threads).whole
    rows = ground.dataset
    return trainer.prepare(rows.features, rows.target, rows.feature_names, seed=seed, threads=threads)


def _later(foreseen: Assembled, study: Study) -> dict[str, tuple[Times, Floats]]:
    """The scores of the hold-out's rows."""
    later: dict[str, tuple[Times, Floats]] = {}
    for ticker, (times, score) in foreseen.scores.items():
        holdout = study.holdouts[ticker]
        begin = int(np.searchsorted(times, holdout.dataset.event_time[holdout.start]))
        later[ticker] = (times[begin:], score[begin:])
    return later


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)
