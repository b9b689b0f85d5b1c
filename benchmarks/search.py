"""How fast is a search, beside what a user would search with instead?

    python -m benchmarks.search [--parts PART ...]

Contenders of a part get the same rows, folds and configurations on the same machine, one after the other, each after
a small search of its own that is not counted: it starts pools and imports libraries. What is ours goes through the
lanes that Ray Tune keeps running, as the service's searches do, and scores every configuration as a trading record
besides. The last line is one JSON object; the exit status is 1 where a target is missed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import again as asking
from benchmarks import peers
from benchmarks import streamed as streaming
from benchmarks.searching import (
    COLUMNS,
    DEVIATION,
    FOLDS,
    ROWS,
    TICKER,
    TIMEFRAME,
    Ran,
    Searched,
    apart,
    environment,
    ground,
    searched,
    service,
    versions,
)
from benchmarks.targets import TARGETS, Disagreement, Figures, agree, missed
from orchestrator.algorithms.base import trainer
from orchestrator.search.settings import DriverSettings
from schemas.search import SearchRequest

CORES = os.cpu_count() or 1
SEED = 42
ROUNDS = 3
"""Every contender of `linear_grid` but the slowest runs so often, in turn with the others; its median counts."""
LINEAR: peers.Grid = {
    "alpha": tuple(float(f"{alpha:.4g}") for alpha in np.geomspace(0.0005, 0.02, 20)),
    "l1_ratio": tuple(round(0.05 + 0.1 * number, 2) for number in range(10)),
}
FEW: peers.Grid = {"alpha": (0.001, 0.01), "l1_ratio": (0.5,)}
"""Of warm-ups."""
TUNE_DEFAULT = 6
"""Configurations for Tune as it comes, which takes seconds for each."""
TREES: Mapping[str, peers.Grid] = {
    "lightgbm": {
        "learning_rate": (0.01, 0.02, 0.05, 0.1, 0.2),
        "num_leaves": (4, 8, 16, 31),
        "min_child_samples": (20, 100),
    },
    "xgboost": {
        "learning_rate": (0.01, 0.02, 0.05, 0.1, 0.2),
        "max_depth": (2, 3, 4, 5),
        "min_child_weight": (20.0, 100.0),
    },
}
POPULATION, GENERATIONS = 8, 5
LINEAR_TOLERANCE, TREES_TOLERANCE = 1e-3, 1e-4
"""By how much the R^2 of a fold may differ between contenders: coordinate descent stops early, ours is exact."""
PACKAGES = ("scikit-learn", "optuna", "ray", "lightgbm", "xgboost", "numpy")


def linear_grid(settings: DriverSettings) -> Figures:
    """200 elastic nets."""
    over = ground()
    rows = peers.Rows.of(over, DEVIATION)
    model = peers.elastic_net({})
    every = peers.configurations_of(LINEAR)
    spread = every[:: len(every) // TUNE_DEFAULT][:TUNE_DEFAULT]
    folder = settings.tune_dir / "peers"

    def ours(grid: peers.Grid) -> Ran:
        return _ours(settings, over, "elasticnet", strategy="grid", param_grid=grid).ran

    def cross_validated(grid: peers.Grid) -> Ran:
        return peers.gridsearchcv(model, grid, rows, jobs=CORES, prefix="elasticnet__")

    few = peers.configurations_of(FEW)
    contenders: dict[str, tuple[Callable[[], Ran], Callable[[], Ran], int, int]] = {
        "ours": (partial(ours, FEW), partial(ours, LINEAR), len(every), ROUNDS),
        "gridsearchcv": (partial(cross_validated, FEW), partial(cross_validated, LINEAR), len(every), ROUNDS),
        "optuna": (
            partial(peers.optuna_grid, FEW, rows),
            partial(peers.optuna_grid, LINEAR, rows),
            len(every),
            ROUNDS,
        ),
        "tune_tuned": (
            partial(peers.tune, few, rows, folder, tuned=True),
            partial(peers.tune, every, rows, folder, tuned=True),
            len(every),
            ROUNDS,
        ),
        "tune_default": (
            partial(peers.tune, few, rows, folder, tuned=False),
            partial(peers.tune, spread, rows, folder, tuned=False),
            TUNE_DEFAULT,
            1,
        ),
    }
    _say(f"linear_grid: {len(every)} elastic nets x {FOLDS} folds on {ROWS:,} x {COLUMNS}; medians of {ROUNDS} runs")
    for name, (warm_up, *_) in contenders.items():
        _say(f"  warming up {name} ...")
        warm_up()
    ran: dict[str, list[Ran]] = {name: [] for name in contenders}
    for number in range(ROUNDS):
        for name, (_, run, _, rounds) in contenders.items():
            if number < rounds:
                ran[name].append(run())
                _say(f"  run {number + 1} of {name}: {ran[name][-1].rate:.1f} configurations/s")
    for name, (_, _, count, _) in contenders.items():
        for each in ran[name]:
            agree(name, each, ran["ours"][0], count, LINEAR_TOLERANCE)
    rates = {name: median(each.rate for each in runs) for name, runs in ran.items()}
    _table(
        (name, contenders[name][2], 1 if name == "optuna" else CORES, rate, rates["ours"] / rate)
        for name, rate in rates.items()
    )
    return {
        **rates,
        "over_gridsearchcv": rates["ours"] / rates["gridsearchcv"],
        "over_tune_tuned": rates["ours"] / rates["tune_tuned"],
        "results": {name: contenders[name][2] for name in contenders},
        "runs": {name: [each.rate for each in runs] for name, runs in ran.items()},
        "apart": max(apart(runs[0].scores, ran["ours"][0].scores) for runs in ran.values()),
    }


def trees(settings: DriverSettings) -> Figures:
    """40 LightGBM and 40 XGBoost configurations."""
    over = ground()
    figures: Figures = {}
    seconds: dict[str, float] = {}
    for library, grid in TREES.items():
        every, few = peers.configurations_of(grid), {name: values[:1] for name, values in grid.items()}
        kind, algorithm = peers.TREES[library], f"{library}_regressor"
        rows = peers.Rows.of(over, kind.unit)
        _say(
            f"trees: {len(every)} configurations of {library} x {FOLDS} folds on {ROWS:,} x {COLUMNS}, 100 rounds each"
        )
        ours = partial(_ours, settings, over, algorithm, strategy="grid")
        cross_validated = partial(peers.gridsearchcv, kind.model(SEED), rows=rows, jobs=CORES)
        ours(param_grid=few)
        mine = ours(param_grid=grid)
        _say(f"  ours: {mine.ran.rate:.2f} configurations/s")
        cross_validated(grid=few)
        theirs = cross_validated(grid=grid)
        _say(f"  gridsearchcv: {theirs.rate:.2f} configurations/s")
        bare = peers.bare(library, every, rows, cores=CORES, seed=SEED)
        _say(f"  ideal: {bare.ideal:.2f} configurations/s, {bare.rebinning:.2f} where each fit bins anew")
        agree("gridsearchcv", theirs, mine.ran, len(every), TREES_TOLERANCE)
        agree("ideal", Ran(bare.fitting, bare.scores), mine.ran, len(every), TREES_TOLERANCE)
        rates = {
            "ours": mine.ran.rate,
            "gridsearchcv": theirs.rate,
            "ideal": bare.ideal,
            "ideal_rebinning": bare.rebinning,
        }
        for name, rate in rates.items():
            seconds[name] = seconds.get(name, 0.0) + len(every) / rate
        figures[library] = {
            **rates,
            "over_ideal": rates["ours"] / rates["ideal"],
            "over_gridsearchcv": rates["ours"] / rates["gridsearchcv"],
            "training_share": mine.training / mine.seconds,
            "results": dict.fromkeys(("ours", "gridsearchcv", "ideal"), len(every)),
        }
    count = sum(len(peers.configurations_of(grid)) for grid in TREES.values())
    together = {name: count / total for name, total in seconds.items()}
    _table((name, count, CORES, rate, together["ours"] / rate) for name, rate in together.items())
    return {
        **together,
        "over_ideal": together["ours"] / together["ideal"],
        "over_gridsearchcv": together["ours"] / together["gridsearchcv"],
        **figures,
    }


def pbt(settings: DriverSettings) -> Figures:
    """A population of 8 for 5 generations of XGBoost."""
    algorithm = "xgboost_regressor"
    threads = max(1, int(min(trainer(algorithm).resources.cpus, CORES)))
    _say(f"pbt: {POPULATION} members x {GENERATIONS} generations of XGBoost x {FOLDS} folds on {ROWS:,} x {COLUMNS}")
    ours = partial(_ours, settings, ground(), algorithm, strategy="pbt")
    ours(population_size=2, num_generations=2)
    found = ours(population_size=POPULATION, num_generations=GENERATIONS)
    if len(found.scored) != POPULATION * GENERATIONS:
        raise Disagreement(f"{len(found.scored)} steps were scored, not {POPULATION * GENERATIONS}")
    figures = pbt_figures(found, slots=CORES // threads)
    _say(f"  {found.seconds:.1f} s, of which {figures['share']:.1%} inside fits and predictions")
    _say(f"  {figures['rounds_trained']:,} rounds; each generation from scratch: {figures['rounds_from_scratch']:,}")
    return figures


def pbt_figures(found: Searched, slots: int) -> Figures:
    """The figures of a population's search, on a machine that can evaluate so many jobs at once."""
    trained, from_scratch = found.rounds
    return {
        "share": found.training / (found.working * slots),
        "share_with_start": found.training / (found.seconds * slots),
        "seconds": found.seconds,
        "slots": slots,
        "steps": len(found.scored),
        "rounds_trained": trained,
        "rounds_from_scratch": from_scratch,
    }


ALONE: Mapping[str, Callable[[], Figures]] = {"streamed": streaming.run, "again": asking.run}
"""Parts that have a Ray head of their own: twenty million rows, whose memory is measured, and what is asked again."""


def alone(part: str) -> Figures:
    """Run one of these in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(ALONE[part]).result()


def main() -> int:
    """Run the parts, print their tables as they come, and the figures as JSON."""
    parser = argparse.ArgumentParser(description="How fast is a search?")
    parser.add_argument("--parts", nargs="*", choices=list(TARGETS), default=list(TARGETS), help="only these")
    asked: list[str] = parser.parse_args().parts
    # One thread in each process that is started from here on, but where a contender says otherwise.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Tune prints tables of its own otherwise, whatever its verbosity.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    _say(f"{CORES} cores; " + ", ".join(f"{name} {version}" for name, version in versions(*PACKAGES).items()))
    table: dict[str, Any] = {}
    tuned: dict[str, Callable[[DriverSettings], Figures]] = {"linear_grid": linear_grid, "trees": trees, "pbt": pbt}
    with ExitStack() as stack:
        if parts := [part for part in asked if part in tuned]:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="search-")))
            settings = stack.enter_context(service(folder, _say))
            table |= {part: tuned[part](settings) for part in parts}
    table |= {part: alone(part) for part in asked if part in ALONE}
    left = missed(table)
    machine = {"cores": CORES, "rows": ROWS, "columns": COLUMNS, "folds": FOLDS, "versions": versions(*PACKAGES)}
    _say(f"missed: {', '.join(left) or 'none'}")
    _say(json.dumps({**table, "machine": machine, "missed": left}))
    return 1 if left else 0


def _ours(settings: DriverSettings, over: Any, algorithm: str, **asked: Any) -> Searched:
    from orchestrator.search.tuner import TuneSearch

    request = SearchRequest(
        request_id="benchmark", algorithm=algorithm, tickers=(TICKER,), timeframe=TIMEFRAME, seed=SEED, **asked
    )
    # What it sets is not to help the others.
    with environment():
        return searched(TuneSearch(settings), request, trainer(algorithm), over, settings)


def _table(lines: Iterable[tuple[str, int, int, float, float]]) -> None:
    _say(f"  {'contender':<18}{'configurations':>15}{'threads':>9}{'a second':>11}{'ours is':>10}")
    for name, count, threads, rate, ratio in lines:
        _say(f"  {name:<18}{count:>15}{threads:>9}{rate:>11.2f}{ratio:>9.2f}x")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
