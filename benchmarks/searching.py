"""What the search benchmarks search over, and the service's own way of doing it: Ray Tune on a Ray head of its own."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from sklearn.metrics import r2_score

from orchestrator.algorithms.base import Trainer
from orchestrator.core.arrays import Floats
from orchestrator.core.canonical import canonical_json
from orchestrator.core.dataset import Dataset, Terms
from orchestrator.core.splits import FoldPlan
from orchestrator.search.campaign import Campaign
from orchestrator.search.course import Search
from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.outcomes import Failed, Outcome, Planned, Scored, Started
from orchestrator.search.plan import PlannedTrial
from orchestrator.search.populations import populations_of
from orchestrator.search.settings import DriverSettings
from orchestrator.search.study import Study
from schemas.search import SearchRequest
from streams.alone import running
from streams.ray_head import RayHead, client_environment
from streams.run_folder import RunFolder
from streams.settings import Settings

ROWS, COLUMNS, FOLDS = 50_000, 20, 5
DEVIATION = 0.01
"""Of the target."""
CORRELATION = 0.03
"""Of each feature of the first half with the target; the others know nothing of it."""
BARS_A_SESSION = 78
TICKER, TIMEFRAME = "BENCH", "5m"

Scores = Mapping[str, Floats]
"""By configuration, in canonical JSON: (n_folds,) R^2 of the out-of-fold predictions of each fold."""


@dataclass(frozen=True, eq=False)
class Ran:
    """What a contender came to: how long it took for these configurations."""

    seconds: float
    scores: Scores

    @property
    def rate(self) -> float:
        """Configurations a second."""
        return len(self.scores) / self.seconds


def ground(rows: int = ROWS, columns: int = COLUMNS, *, seed: int = 1) -> Ground:
    """Rows in time order, of features that are independent and normal, and expanding walk-forward folds of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, columns))
    weights = np.where(np.arange(columns) < columns // 2, CORRELATION, 0.0)
    target = DEVIATION * (features @ weights + np.sqrt(1 - weights @ weights) * rng.normal(size=rows))
    start, bar = np.datetime64("2015-01-01", "us"), np.timedelta64(300_000_000, "us")
    dataset = Dataset(
        ticker=TICKER,
        timeframe=TIMEFRAME,
        event_time=start + np.arange(rows) * bar,
        session=np.arange(rows, dtype=np.int64) // BARS_A_SESSION,
        features=features,
        target=target,
        bar_return=np.expm1(target),
        flat=np.zeros(rows, dtype=np.bool_),
        label_end=np.arange(rows, dtype=np.int64) + 2,
        feature_names=tuple(f"f{number}" for number in range(columns)),
        data_hash=f"benchmark {rows} {columns} {seed}",
        sessions_per_year=252.0,
    )
    return Ground(dataset, FoldPlan(folds=FOLDS).split(dataset.label_end), cost=0.0002)


def study(request: SearchRequest, trainer: Trainer, over: Ground, settings: DriverSettings) -> Study:
    """The work of a request on one ground."""
    return Study(
        request=request,
        metric="sharpe_ratio",
        mode="max",
        terms=Terms(),
        folds=FoldPlan(folds=FOLDS),
        rules=Rules(request.algorithm, request.seed, settings.threshold, settings.threshold / 2),
        algorithm_version=trainer.version,
        float_digits=settings.float_digits,
        lineages={TICKER: TICKER},
        grounds={TICKER: over},
        holdouts={},
    )


@dataclass(frozen=True, eq=False)
class Searched:
    """A search of ours: what was told, with the second of the search at which it was, and its seconds in all."""

    over: Ground
    seconds: float
    told: Sequence[tuple[float, Outcome]]

    @property
    def ran(self) -> Ran:
        """The final scores."""
        trials = self.trials
        scores = {
            canonical_json(trials[each.trial].configuration): explained(self.over, each.prediction)
            for _, each in self.told
            if isinstance(each, Scored) and each.last and isinstance(each.prediction, np.ndarray)
        }
        return Ran(self.seconds, scores)

    @property
    def trials(self) -> dict[str, PlannedTrial]:
        """By name."""
        return {
            trial.trial: trial for _, outcome in self.told if isinstance(outcome, Planned) for trial in outcome.trials
        }

    @property
    def scored(self) -> list[Scored]:
        """Every score of a step, in the order in which they were told."""
        return [outcome for _, outcome in self.told if isinstance(outcome, Scored)]

    @property
    def training(self) -> float:
        """Seconds inside fits and predictions, summed over lanes."""
        return sum(each.training for each in self.scored)

    @property
    def working(self) -> float:
        """Seconds from the first job's start to the last score."""
        began = next(second for second, outcome in self.told if isinstance(outcome, Started))
        return max(second for second, outcome in self.told if isinstance(outcome, Scored)) - began

    @property
    def rounds(self) -> tuple[int, int]:
        """Rounds that were trained, and those of training every member of every generation from scratch; all folds."""
        trials, spent = self.trials, dict[str, int]()
        trained = scratch = 0
        for each in self.scored:
            inherited = trials[each.trial].inherited
            before = spent.get(each.trial, (inherited[-1].budget or 0) if inherited else 0)
            budget = each.budget or 0
            trained, scratch = trained + budget - before, scratch + budget
            spent[each.trial] = budget
        return trained * len(self.over.folds), scratch * len(self.over.folds)


def searched(
    search: Search, request: SearchRequest, trainer: Trainer, over: Ground, settings: DriverSettings
) -> Searched:
    """Run a search on one ground, from the request to the last outcome.

    Raises:
        RuntimeError: a trial failed.
    """
    work = study(request, trainer, over, settings)
    told: list[tuple[float, Outcome]] = []
    began = time.perf_counter()
    campaign = Campaign(
        populations_of(request, trainer, settings),
        work.fingerprint,
        lambda scored: scored.metrics.get(work.metric),
        {},
        accumulates=trainer.budget.accumulates,
    )
    search(
        request.request_id,
        campaign,
        trainer,
        work.grounds,
        work.rules,
        lambda outcome: told.append((time.perf_counter() - began, outcome)),
    )
    seconds = time.perf_counter() - began
    if failed := [outcome for _, outcome in told if isinstance(outcome, Failed)]:
        raise RuntimeError(f"{len(failed)} trials failed, the first of them {failed[0]}")
    return Searched(over, seconds, told)


def explained(over: Ground, prediction: Floats) -> Floats:
    """(n_folds,) R^2 of out-of-fold predictions (n_oof,), fold by fold."""
    bounds = np.cumsum([len(fold.test) for fold in over.folds])[:-1]
    parts = np.split(prediction, bounds)
    return np.array(
        [r2_score(over.dataset.target[fold.test], part) for fold, part in zip(over.folds, parts, strict=True)]
    )


def apart(one: Scores, other: Scores) -> float:
    """The largest difference of the R^2 of a fold, over the configurations that both have.

    Raises:
        ValueError: there are none.
    """
    return max(float(np.max(np.abs(one[name] - other[name]))) for name in one.keys() & other.keys())


@contextmanager
def service(folder: Path, say: Callable[[str], None], **variables: str) -> Iterator[DriverSettings]:
    """A Ray head as the service starts its own, with this process connected to it; nothing is left of it afterwards.

    `variables` are settings of the service.

    Raises:
        NotReady: it does not start.
    """
    run_folder = RunFolder(folder)
    settings = Settings.read({"DATA_DIR": str(folder), "RAY_DASHBOARD_PORT": "0", **variables})
    with (
        running(RayHead(run_folder, settings, os.environ), run_folder, say) as (facts, _),
        _connected(str(facts["address"]), client_environment(run_folder), settings.ray_namespace),
    ):
        yield DriverSettings(
            database_url="", features_dir=folder, tune_dir=folder / "tune", namespace=settings.ray_namespace
        )


@contextmanager
def _connected(address: str, variables: Mapping[str, str], namespace: str) -> Iterator[None]:
    os.environ.update(variables)
    # Ray reads its environment when it is imported.
    import ray

    ray.init(address, namespace=namespace, log_to_driver=False, configure_logging=False)
    # Tune warns that it finds none of the files that it was told not to write.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These variables while it lasts; afterwards the environment is as it was."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def versions(*packages: str) -> dict[str, str]:
    """Of installed packages."""
    return {package: metadata.version(package) for package in packages}
