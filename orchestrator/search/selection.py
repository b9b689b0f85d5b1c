"""From finished trials to survivors, and from survivors to the draft of an ensemble."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from orchestrator.algorithms.base import Predictor
from orchestrator.core.arrays import Flags, Floats, Integers, Times
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Dataset
from orchestrator.core.draft import Candidate, EnsembleDraft
from orchestrator.core.drift import Profile, profile_of, profiled, window_bars
from orchestrator.core.survivors import Contender, Selection, select
from orchestrator.search.evaluation import Ground
from orchestrator.search.settings import DriverSettings
from orchestrator.search.study import Study
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import Trial
from schemas.base import RequestId
from schemas.experiments import Survivor
from schemas.search import Deploy

PROBE_ROWS = 3


@dataclass(frozen=True)
class Wish:
    """What one request, or one command, wants to become of the survivors."""

    request_id: RequestId
    """Or the command's id."""
    deploy: Deploy
    commanded: bool = False


def wishes_of(clauses: Mapping[str, Deploy], founder: str) -> tuple[Wish, ...]:
    """Every different ensemble that the requests of one experiment want deployed, else what the founding one wants.

    Args:
        clauses: the deploy clause of each request by request id, oldest first.
        founder: id of the request that founded the experiment.
    """
    first: dict[Deploy, str] = {}
    for request_id, deploy in clauses.items():
        if deploy.auto:
            first.setdefault(deploy, request_id)
    wanted = tuple(Wish(request_id, deploy) for deploy, request_id in first.items())
    return wanted or (Wish(founder, clauses[founder]),)


def survivors_of(study: Study, trials: Sequence[Trial], predictions: Mapping[str, Floats], top_n: int) -> Selection:
    """The best trials of each ticker, or of all together where a trial is of all tickers.

    Args:
        study: the experiment's work.
        trials: all of them, over.
        predictions: of the completed ones by trial, (n_oof,).
        top_n: survivors by ticker at most.
    """
    contenders = [
        Contender(
            trial=trial.trial,
            tickers=trial.tickers,
            configuration=trial.configuration,
            fingerprint=trial.fingerprint,
            metric=metric_of(study, trial),
            eligible=bool(trial.eligible),
            predictions=_by_ticker(study, trial, predictions.get(trial.trial)),
        )
        for trial in trials
        if trial.status is not TrialStatus.STOPPED_EARLY
    ]
    return select(contenders, top_n=top_n, mode=study.mode)


def metric_of(study: Study, trial: Trial) -> float | None:
    """What the search optimises, of one trial; None where it has none."""
    return None if trial.metrics is None else trial.metrics.get(study.metric)


def best_of(study: Study, trials: Sequence[Trial]) -> Trial | None:
    """The best eligible trial of all tickers; ties by fingerprint."""
    ranked = [
        (metric if study.mode == "min" else -metric, trial.fingerprint, trial.trial, trial)
        for trial in trials
        if trial.status is TrialStatus.COMPLETED and trial.eligible
        if (metric := metric_of(study, trial)) is not None
    ]
    return min(ranked, key=lambda entry: entry[:3])[3] if ranked else None


def told(selection: Selection) -> tuple[Survivor, ...]:
    """The survivors as their event tells of them."""
    return tuple(
        Survivor(
            trial=kept.contender.trial,
            tickers=kept.contender.tickers,
            configuration=dict(kept.contender.configuration),
            rank=kept.rank,
            metric=_known(kept.contender.metric),
        )
        for kept in selection.kept
    )


def draft_of(
    experiment: str,
    study: Study,
    selection: Selection,
    predictors: Mapping[str, Mapping[str, Predictor]],
    deploy: Deploy,
    settings: DriverSettings,
) -> EnsembleDraft:
    """The draft of one request's ensemble.

    Args:
        experiment: its name.
        study: the experiment's work.
        selection: survivors, one at least.
        predictors: by trial and ticker, refitted on everything before the hold-out.
        deploy: the request's clause.
        settings: for what the clause leaves open.
    """
    request = study.request
    threshold = settings.threshold if deploy.threshold is None else deploy.threshold
    tickers = sorted({ticker for kept in selection.kept for ticker in kept.contender.tickers})
    records = {ticker: _record(study.grounds[ticker]) for ticker in tickers}
    return EnsembleDraft(
        ensemble=deploy.ensemble_name or experiment,
        experiment=experiment,
        algorithm=request.algorithm,
        timeframe=request.timeframe,
        terms=study.terms,
        calendar=settings.calendar,
        candidates=tuple(
            candidate
            for kept in selection.kept
            for candidate in _candidates(records, kept.contender, predictors[kept.contender.trial])
        ),
        voting=deploy.voting or settings.voting,
        threshold=threshold,
        exit_threshold=threshold / 2 if request.exit_threshold is None else request.exit_threshold,
        cost={ticker: study.grounds[ticker].cost for ticker in tickers},
        trained_through=max(_trained_through(study.grounds[ticker].dataset) for ticker in tickers),
        data_hash={ticker: study.data_hash[ticker] for ticker in tickers},
        ranges={
            ticker: ranges_of(study.grounds[ticker].dataset)
            for ticker in tickers
            if study.grounds[ticker].streamed is None
        },
        profiles=_profiles(study, tickers, settings),
    )


def extended(draft: EnsembleDraft, study: Study) -> EnsembleDraft:
    """The draft with the hold-out as one more fold of every record, predicted by the predictors that would be deployed.

    A fold's scores are calibrated on the folds before it: those of the last one are what the draft's own ensemble says
    on rows that nothing in it has seen.
    """
    return replace(draft, candidates=tuple(_extended(each, study) for each in draft.candidates))


def test_rows(ground: Ground) -> Integers:
    """Rows (n_oof,) that are predicted out of fold, one fold after the other."""
    return np.concatenate([fold.test for fold in ground.folds])


def trainable_rows(dataset: Dataset) -> Flags:
    """Rows (n,) that a predictor can be trained on: target and features are known."""
    flags: Flags = np.isfinite(dataset.target) & np.isfinite(dataset.features).all(axis=1)
    return flags


def ranges_of(dataset: Dataset) -> dict[str, tuple[float, float]]:
    """By feature, the least and the largest value among the rows that a predictor can be trained on."""
    rows = dataset.features[trainable_rows(dataset)]
    bounds = zip(rows.min(axis=0).tolist(), rows.max(axis=0).tolist(), strict=True)
    return dict(zip(dataset.feature_names, bounds, strict=True))


def _profiles(study: Study, tickers: Sequence[str], settings: DriverSettings) -> dict[str, Profile]:
    """By ticker, how the features of the rows before the hold-out are distributed, where there are enough.

    Of features that are larger than memory, the newest rows are read.
    """
    window = window_bars(study.request.timeframe, calendar_named(settings.calendar))
    found: dict[str, Profile] = {}
    for ticker in tickers:
        ground, names = study.grounds[ticker], study.grounds[ticker].dataset.feature_names
        features = ground.dataset.features
        if ground.streamed is not None:
            features = ground.streamed.stream.rows(ground.dataset.event_time[-profiled(len(names)) :])
        if profile := profile_of(features, names, window, len(tickers)):
            found[ticker] = profile
    return found


@dataclass(frozen=True, eq=False)
class _Record:
    """What the candidates of one ticker share: fields as those of `Candidate`."""

    event_time: Times
    target: Floats
    fold: Integers
    probe: Floats


def _record(ground: Ground) -> _Record:
    dataset, rows = ground.dataset, test_rows(ground)
    known = np.flatnonzero(trainable_rows(dataset))[-PROBE_ROWS:]
    return _Record(
        event_time=dataset.event_time[rows],
        target=dataset.target[rows],
        fold=np.repeat(np.arange(len(ground.folds)), [len(fold.test) for fold in ground.folds]),
        probe=(
            dataset.features[known]
            if ground.streamed is None
            else ground.streamed.stream.rows(dataset.event_time[known])
        ),
    )


def _candidates(
    records: Mapping[str, _Record], contender: Contender, predictors: Mapping[str, Predictor]
) -> Iterator[Candidate]:
    """A survivor on each of its tickers."""
    if contender.predictions is None:
        raise ValueError(f"{contender.trial} survived without predictions")
    for ticker, prediction in zip(contender.tickers, contender.predictions, strict=True):
        yield Candidate(
            trial=contender.trial,
            ticker=ticker,
            configuration=contender.configuration,
            metric=_known(contender.metric),
            fingerprint=contender.fingerprint,
            predictor=predictors[ticker],
            prediction=prediction,
            **vars(records[ticker]),
        )


def _by_ticker(study: Study, trial: Trial, prediction: Floats | None) -> tuple[Floats, ...] | None:
    """A trial's predictions (n_oof,) on each of its tickers."""
    if prediction is None:
        return None
    lengths = [sum(len(fold.test) for fold in study.grounds[ticker].folds) for ticker in trial.tickers]
    return tuple(np.split(prediction, np.cumsum(lengths)[:-1]))


def _extended(candidate: Candidate, study: Study) -> Candidate:
    holdout = study.holdouts[candidate.ticker]
    later = slice(holdout.start, None)
    predicted = np.concatenate([candidate.predictor.predict(features) for features in holdout.features()])
    fold = np.full(len(predicted), candidate.fold[-1] + 1)
    return replace(
        candidate,
        event_time=np.concatenate([candidate.event_time, holdout.dataset.event_time[later]]),
        prediction=np.concatenate([candidate.prediction, predicted]),
        target=np.concatenate([candidate.target, holdout.dataset.target[later]]),
        fold=np.concatenate([candidate.fold, fold]),
    )


def _trained_through(dataset: Dataset) -> datetime:
    last = dataset.event_time[trainable_rows(dataset)][-1]
    moment: datetime = last.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _known(metric: float | None) -> float:
    if metric is None:
        raise ValueError("a trial without a score survived")
    return metric
