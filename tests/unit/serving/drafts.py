"""Survivors to assemble ensembles of: a known market, and elastic nets trained on it fold by fold."""

from datetime import UTC, datetime

import numpy as np

from orchestrator.algorithms.base import Predictor
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.dataset import Terms
from orchestrator.core.draft import Candidate, EnsembleDraft
from orchestrator.core.splits import purged_walk_forward
from schemas.base import Voting
from serving.answer import FeatureBatch

NAMES = ("momentum", "volatility_20", "rsi_14")
ROWS = 400
TRAINER = ElasticNetTrainer()


def candidate(trial: str, ticker: str = "AAPL", *, alpha: float = 0.01, seed: int = 0, rows: int = ROWS) -> Candidate:
    """An elastic net on features of which the first tells something of the next return."""
    rng = np.random.default_rng([seed, *ticker.encode()])
    features = rng.normal(size=(rows, len(NAMES)))
    target = 0.004 * features[:, 0] + 0.01 * rng.normal(size=rows)
    configuration = {"alpha": alpha, "l1_ratio": 0.5}
    folds = purged_walk_forward(np.arange(rows) + 2, folds=6)
    oof = np.concatenate([fold.test for fold in folds])
    event_time = np.datetime64("2020-01-01T21:00", "us") + np.arange(rows) * np.timedelta64(1, "D")

    def fitted(train: Integers) -> Predictor:
        training = TRAINER.prepare(features[train], target[train], NAMES, seed=seed, threads=1)
        return training.fit([configuration])[0]

    return Candidate(
        trial=trial,
        ticker=ticker,
        configuration=configuration,
        metric=1.0,
        fingerprint=f"{seed:064x}",
        predictor=fitted(np.arange(rows)),
        event_time=event_time[oof],
        prediction=np.concatenate([fitted(fold.train).predict(features[fold.test]) for fold in folds]),
        target=target[oof],
        fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        probe=features[-3:],
    )


def draft(
    *candidates: Candidate,
    ensemble: str = "bot",
    voting: Voting = "soft",
    threshold: float = 0.7,
    cost: float = 0.0002,
) -> EnsembleDraft:
    """A draft of an ensemble of daily bars."""
    tickers = {candidate.ticker for candidate in candidates}
    return EnsembleDraft(
        ensemble=ensemble,
        experiment="grid_elasticnet_20260115_143022_abcdef",
        algorithm="elasticnet",
        timeframe="1d",
        terms=Terms(),
        calendar="24/7",
        candidates=candidates,
        voting=voting,
        threshold=threshold,
        exit_threshold=threshold / 2,
        cost=dict.fromkeys(tickers, cost),
        trained_through=datetime(2021, 1, 1, 21, tzinfo=UTC),
        data_hash=dict.fromkeys(tickers, "d" * 64),
    )


def batch(
    tickers: tuple[str, ...],
    matrix: Floats | None = None,
    names: tuple[str, ...] = NAMES,
    *,
    timeframe: str = "1d",
    hour: int = 0,
    bound: bool = True,
) -> FeatureBatch:
    """Ticks of one bar, which closes at this hour; absent a matrix, of features that are all 0."""
    rows = len(tickers)
    return FeatureBatch(
        timeframe=timeframe,
        tickers=tickers,
        names=names,
        matrix=np.zeros((rows, len(names))) if matrix is None else matrix,
        event_time=np.full(rows, np.datetime64("2026-01-05", "us") + np.timedelta64(hour, "h")),
        bound=np.full(rows, bound),
    )
