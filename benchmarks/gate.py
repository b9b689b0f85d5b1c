"""Does the gate keep luck out and let skill in?

    python -m benchmarks.gate [--searches N] [--workers N]

Each search goes from prices to a verdict as the service takes it, only without Ray and Kafka: indicators, parquet,
study, folds, training, scores, ledger, survivors, ensemble and gate are the service's own. Each has a market of its
own, that nobody has searched before. The last line is one JSON object; the exit status is 1 where a target is missed.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.markets import Market, Tape, edge_worth, tape
from orchestrator.core.calendar import calendar_named
from orchestrator.core.canonical import digest
from orchestrator.core.dataset import prepare, terms_of
from orchestrator.core.gate import REQUIRED
from orchestrator.core.lifecycle import State
from orchestrator.core.scoring import evaluate_history
from orchestrator.core.splits import FoldPlan
from orchestrator.features.indicators import WARM_UP, indicators
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.course import Course
from orchestrator.search.inline import InlineSearch
from orchestrator.search.settings import DriverSettings
from orchestrator.store import experiments, requests
from orchestrator.store.database import Database
from orchestrator.store.experiments import Experiment
from schemas.experiments import GateVerdict
from schemas.search import Costs, SearchRequest
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler

BARS = WARM_UP + 2524
"""1,260 sessions of profit: half of what the features leave, as the scored folds are, less two without a price yet."""


@dataclass(frozen=True)
class Case:
    """A kind of market, and the grid search that is run on it.

    `planted` is the annual Sharpe ratio, net of costs, of following ideally what can be foreseen; `drift` that of
    holding. `counts` names the figure that passes at 0.95: the deflated Sharpe ratio of the ensemble's profit, that of
    its active part, or both, which is the whole gate. Of a hundred searches, `at_most` or `at_least` so many may.
    """

    name: str
    counts: str = "deflated"
    at_most: int | None = None
    at_least: int | None = None
    planted: float = 0.0
    drift: float = 0.0
    tickers: int = 1
    cost_bps: float = 2.0
    algorithm: str = "elasticnet"
    grid: Mapping[str, tuple[float, ...]] | None = None
    """None: the family's own."""

    @property
    def request(self) -> SearchRequest:
        """What is asked for."""
        return SearchRequest(
            request_id=self.name,
            strategy="grid",
            algorithm=self.algorithm,
            tickers=tuple(f"T{number}" for number in range(self.tickers)),
            param_grid=None if self.grid is None else dict(self.grid),
            costs=Costs(default_bps=self.cost_bps),
        )


FINE = {
    "alpha": tuple(np.geomspace(0.001, 0.05, 20).round(6).tolist()),
    "l1_ratio": (0.1, 0.3, 0.5, 0.7, 0.9),
}
RESTLESS: dict[str, tuple[float, ...]] = {
    "learning_rate": (0.02, 0.03, 0.3, 0.5),
    "n_estimators": (20, 40),
    "num_leaves": (15,),
}
"""The slower half expects little of any bar; the faster half learns the noise by heart, and trades on it."""
FEW = {"alpha": (0.002, 0.02), "l1_ratio": (0.1, 0.9)}
CASES = (
    Case("noise", at_most=5),
    Case("noise_free", at_most=5, cost_bps=0.0),
    Case("noise_correlated", at_most=5, grid=FINE),
    Case("noise_bleeding", at_most=5, cost_bps=10.0, algorithm="lightgbm_regressor", grid=RESTLESS),
    Case("noise_tickers", at_most=5, tickers=8, grid=FEW),
    Case("drift", counts="active", at_most=5, drift=3.0),
    Case("planted_1_5", counts="gate", planted=1.5),
    Case("planted_2_5", counts="gate", at_least=80, planted=2.5),
)


@dataclass(frozen=True)
class Seen:
    """What the gate said of one search, and the annual Sharpe ratio of the ideal follower over the same sessions."""

    verdict: GateVerdict
    ideal: float | None

    def passes(self, figure: str) -> bool:
        """Whether `deflated` or `active` reaches 0.95, or the whole `gate` is passed."""
        if figure == "gate":
            return self.verdict.passed
        value = self.verdict.deflated_sharpe if figure == "deflated" else self.verdict.active_deflated_sharpe
        return value is not None and value >= REQUIRED


def searched(case: Case, seed: int) -> Seen:
    """Make the markets of a seed and run the search; everything is written to a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="gate-") as name:
        folder = Path(name)
        settings = DriverSettings(
            database_url=f"sqlite+aiosqlite:///{folder / 'orchestrator.db'}",
            features_dir=folder / "features",
            tune_dir=folder / "tune",
            namespace="benchmark",
        )
        request, calendar = case.request, calendar_named(settings.calendar)
        market = Market(_edge(case.planted, case.cost_bps / 10_000, settings.threshold), case.drift)
        tapes = {
            ticker: tape(market, [seed, number, *case.name.encode()], BARS, calendar)
            for number, ticker in enumerate(request.tickers)
        }
        (folder / "orchestrator.db").write_bytes(_empty_database())
        for ticker, each in tapes.items():
            _write(settings.features_dir / ticker / request.timeframe, each)
        experiment = asyncio.run(_led(request, settings, folder))
        if experiment.verdict is None:
            raise RuntimeError(f"{case.name} {seed} came to no verdict: {experiment.reasons}")
        return Seen(experiment.verdict, _ideal(request, settings, *next(iter(tapes.items()))) if case.planted else None)


def figures(case: Case, seen: Sequence[Seen]) -> dict[str, Any]:
    """A case's row of the table; means are over its searches, ratios annual."""
    ideals = [each.ideal for each in seen if each.ideal is not None]
    ratios = [each.verdict.sharpe_ratio for each in seen if each.verdict.sharpe_ratio is not None]
    luck = [(each.verdict.benchmark_sharpe or 0.0) * np.sqrt(252) for each in seen]
    return {
        "searches": len(seen),
        "passed": sum(each.passes(case.counts) for each in seen),
        "at_most": case.at_most,
        "at_least": case.at_least,
        **{figure: sum(each.passes(figure) for each in seen) for figure in ("deflated", "active", "gate")},
        "trials": seen[0].verdict.trials,
        "sessions": seen[0].verdict.sessions,
        "sharpe": round(fmean(ratios), 3) if ratios else None,
        "luck": round(fmean(luck), 3),
        "ideal": round(fmean(ideals), 3) if ideals else None,
    }


def missed(case: Case, passed: int, searches: int) -> bool:
    """Whether the case's target is missed, in proportion to how many searches there were."""
    share = 100 * passed / searches
    return (case.at_most is not None and share > case.at_most) or (case.at_least is not None and share < case.at_least)


def main() -> int:
    """Run every case, print the table as it comes, and the figures as JSON."""
    parser = argparse.ArgumentParser(description="Does the gate keep luck out and let skill in?")
    parser.add_argument("--searches", type=int, default=100, help="of each case (100)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one a core)")
    parser.add_argument("--cases", nargs="*", choices=[case.name for case in CASES], help="only these")
    asked = parser.parse_args()
    # One thread a process, before any of them loads a library that would take more.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    table: dict[str, dict[str, Any]] = {}
    left: list[str] = []
    print(f"{asked.searches} searches of each case, {asked.workers} at a time; annual Sharpe ratios, means")
    columns = ("passed", "deflated", "active", "gate", "trials", "sessions", "sharpe", "luck", "ideal")
    print(f"{'case':<18}{'target':>8}" + "".join(f"{column:>10}" for column in columns), flush=True)
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        for case in (case for case in CASES if not asked.cases or case.name in asked.cases):
            row = figures(case, list(pool.map(partial(searched, case), range(asked.searches))))
            table[case.name] = row
            if missed(case, row["passed"], row["searches"]):
                left.append(case.name)
            target = "-" if case.at_least is None else f">= {case.at_least}"
            target = target if case.at_most is None else f"<= {case.at_most}"
            shown = "".join(f"{'-' if row[column] is None else row[column]:>10}" for column in columns)
            print(f"{case.name:<18}{target:>8}{shown}", flush=True)
    print(f"missed: {', '.join(left) or 'none'}")
    print(json.dumps({**table, "missed": left}), flush=True)
    return 1 if left else 0


async def _led(request: SearchRequest, settings: DriverSettings, folder: Path) -> Experiment:
    """Admit a request, lead its experiment to the end, and say how that came out."""
    database = Database.open(settings.database_url)
    clock = partial(datetime.now, UTC)
    try:
        async with database.transaction() as tx:
            raw, key = request.model_dump_json().encode(), digest(request.request_id)
            admission = await requests.admit(tx, request, raw=raw, trials=1, search_key=key, now=clock())
            if not isinstance(admission, requests.Accepted):
                raise TypeError(f"a new request was not accepted: {admission}")
            await experiments.advance(tx, admission.experiment, State.WAITING, None, clock())
        assembler = EnsembleAssembler(Artifacts(folder / "artifacts"))
        await Course(admission.experiment, settings, InlineSearch(), assembler, database, clock).lead()
        async with database.snapshot() as tx:
            return await experiments.get(tx, admission.experiment)
    finally:
        await database.close()


@cache
def _empty_database() -> bytes:
    """A database file with its tables; making them takes longer than many a search."""

    async def make(path: Path) -> bytes:
        database = Database.open(f"sqlite+aiosqlite:///{path}")
        await database.upgrade()
        await database.close()
        return path.read_bytes()

    with TemporaryDirectory(prefix="gate-") as name:
        return asyncio.run(make(Path(name) / "orchestrator.db"))


def _ideal(request: SearchRequest, settings: DriverSettings, ticker: str, known: Tape) -> float:
    """Sharpe ratio of who knows what is foretold on the ticker, scored as a trial is."""
    bars = ParquetFeatures(settings.features_dir).load(ticker, request.timeframe)
    dataset = prepare(bars, terms_of(request, has_open=True), calendar_named(settings.calendar))
    folds = FoldPlan().split(dataset.label_end)
    prediction = known.foretold[-len(dataset) :][np.concatenate([fold.test for fold in folds])]
    cost = request.costs.of(ticker)
    history = evaluate_history(dataset, folds, prediction, threshold=settings.threshold, cost=cost)
    return history.metrics["sharpe_ratio"] or 0.0


@cache
def _edge(planted: float, cost: float, threshold: float) -> float:
    a_year = calendar_named().sessions_per_year
    return edge_worth(planted, threshold=threshold, cost=cost, sessions_per_year=a_year) if planted else 0.0


def _write(folder: Path, known: Tape) -> None:
    columns = {"event_time": pa.array(known.closes, pa.timestamp("us", tz="UTC"))}
    columns |= {name: pa.array(values) for name, values in vars(known.prices).items()}
    columns |= {name: pa.array(values) for name, values in indicators(known.prices).items()}
    folder.mkdir(parents=True)
    pa.parquet.write_table(pa.table(columns), folder / "bars.parquet")


if __name__ == "__main__":
    sys.exit(main())
