"""Small markets in which the first feature tells something of the next return, and searches over them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.campaign import Campaign
from orchestrator.search.evaluation import Bench, evaluate
from orchestrator.search.outcomes import Scored
from orchestrator.search.plan import Job, Step
from orchestrator.search.populations import populations_of
from orchestrator.search.reading import load
from orchestrator.search.settings import DriverSettings
from orchestrator.search.study import Study, study_of
from schemas.search import SearchRequest

NAMES = ("momentum", "noise", "other")
ROWS = 1_000
TRAINER = ElasticNetTrainer()
GRID = {"alpha": (0.01, 0.05), "l1_ratio": (0.1, 0.9)}


def write_market(directory: Path, ticker: str, *, seed: int = 1, rows: int = ROWS, edge: float = 0.22) -> None:
    """Write daily bars; `edge` is the correlation of `momentum` with what the next bar earns."""
    rng = np.random.default_rng([seed, *ticker.encode()])
    times = calendar_named().session_closes(datetime(2015, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))[:rows]
    features = rng.normal(size=(rows, len(NAMES)))
    earned = 0.01 * (edge * features[:, 0] + np.sqrt(1 - edge**2) * rng.normal(size=rows))
    # Decided at the close of t, a position is held from the open of t + 1 to the open of t + 2.
    opens = 100 * np.exp(np.cumsum(np.concatenate([np.zeros(2), earned]))[:rows])
    columns = {
        "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
        "open": opens,
        "close": opens * np.exp(0.001 * rng.normal(size=rows)),
        **dict(zip(NAMES, features.T, strict=True)),
    }
    folder = directory / ticker / "1d"
    folder.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table(columns), folder / "bars.parquet")


def search_request(tickers: tuple[str, ...] = ("AAA",), **fields: Any) -> SearchRequest:
    """A grid of four elastic nets."""
    asked: dict[str, Any] = {
        "request_id": f"request-{'-'.join(tickers)}",
        "strategy": "grid",
        "algorithm": "elasticnet",
        "param_grid": GRID,
        **fields,
    }
    return SearchRequest(tickers=tickers, **asked)


def driver_settings(directory: Path, **fields: Any) -> DriverSettings:
    """Settings under which everything is written below `directory`."""
    return DriverSettings(
        database_url=f"sqlite+aiosqlite:///{directory / 'orchestrator.db'}",
        features_dir=directory / "features",
        tune_dir=directory / "tune",
        namespace="tests",
        **fields,
    )


def bars(directory: Path, request: SearchRequest) -> dict[str, Bars]:
    """The request's bars, as the driver reads them."""
    return load(ParquetFeatures(directory / "features"), request)


def study(directory: Path, request: SearchRequest, **fields: Any) -> Study:
    """The request's work; markets that are not there yet are written."""
    for ticker in request.tickers:
        if not (directory / "features" / ticker).exists():
            write_market(directory / "features", ticker)
    return study_of(request, bars(directory, request), TRAINER, driver_settings(directory, **fields))


def campaign_of(directory: Path, work: Study) -> Campaign:
    """The campaign of a study, with nothing recorded."""
    return Campaign(
        populations_of(work.request, TRAINER, driver_settings(directory)),
        work.fingerprint,
        lambda scored: scored.metrics.get(work.metric),
        {},
        accumulates=TRAINER.budget.accumulates,
    )


def whole(directory: Path, work: Study) -> Job:
    """All of a grid on one ticker as one job."""
    return Job(0, tuple(steps_of(directory, work)))


def bench(work: Study, trainer: ElasticNetTrainer = TRAINER, clock: Callable[[], float] = lambda: 0.0) -> Bench:
    """A worker's bench over a study."""
    return Bench(trainer, work.rules, work.grounds.__getitem__, clock)


def steps_of(directory: Path, work: Study) -> list[Step]:
    """Every first step of a study, by the names of their trials."""
    return campaign_of(directory, work).ask(1_000)[0]


def predictions_of(directory: Path, work: Study) -> dict[str, Floats]:
    """Out-of-fold predictions of every trial of a grid."""
    desk = bench(work)
    return {
        step.trial.trial: np.asarray(outcome.prediction)
        for step in steps_of(directory, work)
        for outcome in evaluate(Job(0, (step,)), desk)
        if isinstance(outcome, Scored)
    }
