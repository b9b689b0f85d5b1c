"""Making an ensemble of survivors, and following it over rows that it has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.algorithms.base import Predictor, Trainer
from orchestrator.core.arrays import Floats, Times
from orchestrator.core.draft import Assembled, Assembler
from orchestrator.core.survivors import Selection
from orchestrator.search.judgement import Profit, profit_of
from orchestrator.search.selection import draft_of, extended
from orchestrator.search.settings import DriverSettings
from orchestrator.search.study import Study
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


def refit(study: Study, trainer: Trainer, names: frozenset[str]) -> dict[str, Predictor]:
    """Train the trials of these names on every row before the hold-out.

    Raises:
        CannotTrain: one of them cannot be trained.
    """
    refitted: dict[str, Predictor] = {}
    for trial in study.trials:
        if trial.trial in names:
            rows = study.grounds[trial.ticker].dataset
            refitted[trial.trial] = trainer.fit(
                trial.configuration, rows.features, rows.target, rows.feature_names, study.rules.seed
            )
    return refitted


def appraise(
    experiment: str,
    study: Study,
    survivors: Selection,
    predictors: Mapping[str, Predictor],
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
        holdout = profit_of(assembled, _later(foreseen, study), whole, draft.cost).total
    return Appraisal(
        assembled=assembled,
        ensemble=draft.ensemble,
        tickers=tuple(draft.cost),
        members=len(draft.candidates),
        profit=profit_of(assembled, assembled.scores, datasets, draft.cost),
        holdout=holdout,
        sessions_per_year=next(iter(datasets.values())).sessions_per_year,
    )


def holdout_span(study: Study, tickers: tuple[str, ...]) -> str:
    """What names the hold-out of these tickers: its first and its last bar."""
    times = [study.holdouts[ticker].dataset.event_time[study.holdouts[ticker].start :] for ticker in tickers]
    return f"{_text(min(each[0] for each in times))}/{_text(max(each[-1] for each in times))}"


def _later(foreseen: Assembled, study: Study) -> dict[str, tuple[Times, Floats]]:
    """The scores of the hold-out's rows."""
    later: dict[str, tuple[Times, Floats]] = {}
    for ticker, (times, score) in foreseen.scores.items():
        holdout = study.holdouts[ticker]
        begin = int(np.searchsorted(times, holdout.dataset.event_time[holdout.start]))
        later[ticker] = (times[begin:], score[begin:])
    return later


def _text(moment: np.datetime64) -> str:
    return str(np.datetime_as_string(moment, unit="s", timezone="UTC"))
