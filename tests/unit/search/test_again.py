"""Whole courses without Ray, asked for again: what is known is not trained, whoever asks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import pytest_asyncio

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.canonical import lineage_key
from orchestrator.core.dataset import Terms
from orchestrator.core.lifecycle import State
from orchestrator.core.splits import FoldPlan
from orchestrator.search import study as studies
from orchestrator.store import fingerprints, ledger, trials
from orchestrator.store.database import Database
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import History, Trial
from schemas.search import Choice, Costs, Deploy, Uniform
from tests.contracts.store.makers import events
from tests.unit.search.combinations import SIZES, TRIALS
from tests.unit.search.studies import driver_settings, search_request, write_market
from tests.unit.search.test_course import Inline, Line, Unplugged

pytestmark = pytest.mark.slow

EARLIER, LATER = 1, 2
OTHER_ALPHAS = {"alpha": (0.05, 0.02), "l1_ratio": (0.1, 0.9)}
"""Half of them are known of the usual grid."""
TREES: dict[str, Any] = {
    "strategy": "pbt",
    "algorithm": "lightgbm_regressor",
    "param_grid": None,
    "population_size": 4,
    "num_generations": 2,
    "space": {
        "learning_rate": Uniform(kind="uniform", low=0.05, high=0.3),
        "num_leaves": Choice(kind="choice", values=(4,)),
        "min_child_samples": Choice(kind="choice", values=(20,)),
    },
}
"""A population that carries its state over."""


@pytest_asyncio.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    db = Database.open(driver_settings(tmp_path).database_url)
    await db.upgrade()
    yield Line(tmp_path, db)
    await db.close()


async def searched(line: Line, work: int, search: Inline | None = None, **fields: Any) -> tuple[str, Inline]:
    """An experiment that is led to its end, and who searched."""
    fields.setdefault("tickers", ("AAA",))
    name = await line.admit(search_request(fields.pop("tickers"), request_id=f"request-{work}", **fields), work)
    search = search or Inline()
    await line.lead(name, search)
    return name, search


async def left(line: Line, experiment: str) -> tuple[list[Trial], dict[str, History]]:
    """The trials of an experiment, and their histories."""
    async with line.db.snapshot() as tx:
        known = await trials.of_experiment(tx, experiment)
        return known, await trials.histories(tx, experiment, [trial.trial for trial in known])


async def test_what_was_searched_before_is_answered_without_training(line: Line) -> None:
    first, _ = await searched(line, EARLIER)
    rows = await _ledger(line)
    second, search = await searched(line, LATER)
    assert search.evaluated == []
    assert (await line.found(second)).state is State.SELECTED
    (before, histories), (after, copies) = await left(line, first), await left(line, second)
    assert [(each.status, each.metrics, each.eligible, each.fingerprint) for each in after] == [
        (each.status, each.metrics, each.eligible, each.fingerprint) for each in before
    ]
    for trial, history in histories.items():
        np.testing.assert_array_equal(copies[trial].prediction, history.prediction)
        np.testing.assert_array_equal(copies[trial].profit, history.profit)
    told = await events(line.db, "trial-events", second)
    assert [(each.trial, each.event) for each in told] == [
        (each.trial, event) for each in before for event in ("created", "cached")
    ]
    assert {(each.recorded_by, each.recorded_trial == each.trial) for each in told[1::2]} == {(first, True)}
    assert await _ledger(line) == rows


async def test_what_was_known_is_counted(line: Line) -> None:
    first, _ = await searched(line, EARLIER)
    second, search = await searched(line, LATER, param_grid=OTHER_ALPHAS)
    assert len(search.evaluated) == 2
    for name, cached in ((first, 0), (second, 2)):
        told = await events(line.db, "experiment-events", name)
        completed = next(event for event in told if event.event == "completed")
        assert (completed.finished, completed.cached) == (4, cached)
        assert [event.cached for event in told if event.event == "progress"][-1] == cached
        assert ((await line.found(name)).summary or {})["cached"] == cached
    async with line.db.snapshot() as tx:
        assert (await fingerprints.stats(tx)).saved == 2


@pytest.mark.parametrize("strategy", SIZES)
async def test_every_strategy_asks_what_is_known(line: Line, strategy: str) -> None:
    tickers = ("AAA", "BBB") if strategy == "multi_ticker_pbt" else ("AAA",)
    fields = {"strategy": strategy, "tickers": tickers, **SIZES[strategy]}
    fields |= {} if strategy == "grid" else {"param_grid": None}
    first, once = await searched(line, EARLIER, **fields)
    second, again = await searched(line, LATER, **fields)
    assert once.evaluated
    assert again.evaluated == []
    (before, _), (after, _) = await left(line, first), await left(line, second)
    assert len(before) == (4 if strategy == "grid" else TRIALS[strategy])
    assert [(each.trial, each.status, each.metrics) for each in after] == [
        (each.trial, each.status, each.metrics) for each in before
    ]
    found = await line.found(second)
    assert (found.state, found.reasons) == (State.SELECTED, ())
    assert found.verdict is not None


async def test_a_population_that_carries_state_over_is_known_with_its_history(line: Line) -> None:
    first, once = await searched(line, EARLIER, **TREES)
    assert len(once.evaluated) == 8
    second, again = await searched(line, LATER, **TREES)
    assert again.evaluated == []
    # Another span of training is other work from its first generation on.
    _, longer = await searched(line, 3, **TREES | {"num_generations": 3})
    assert len(longer.evaluated) == 12
    told = [event for event in await events(line.db, "trial-events", second) if event.event == "reported"]
    assert {event.recorded_by for event in told} == {first}


async def test_what_was_known_of_a_trial_s_first_half_has_the_other_trained_from_scratch(line: Line) -> None:
    first, _ = await searched(line, EARLIER, **TREES)
    async with line.db.transaction() as tx:
        kept = [each for each in await fingerprints.of_experiment(tx, first) if not each.whole]
        await fingerprints.clear_all(tx)
        await fingerprints.record(tx, kept, line.clock())
    second, search = await searched(line, LATER, **TREES)
    assert len(search.evaluated) == 4
    (before, histories), (after, copies) = await left(line, first), await left(line, second)
    assert [(each.trial, each.status) for each in after] == [(each.trial, each.status) for each in before]
    for trial, history in histories.items():
        np.testing.assert_allclose(copies[trial].prediction, history.prediction, rtol=1e-6, atol=1e-9)
    started = [each.trial for each in await events(line.db, "trial-events", second) if each.event == "started"]
    assert sorted(started) == sorted(search.evaluated)


def a_bar(line: Line, patch: pytest.MonkeyPatch) -> None:
    path = line.directory / "features" / "AAA" / "1d" / "bars.parquet"
    table = pyarrow.parquet.read_table(path)
    noise = table["noise"].to_numpy().copy()
    noise[500] = np.nextafter(noise[500], 9.0)
    pyarrow.parquet.write_table(table.set_column(table.column_names.index("noise"), "noise", pa.array(noise)), path)


def the_version(line: Line, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ElasticNetTrainer, "version", "another")


def the_folds(line: Line, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(studies, "FoldPlan", partial(FoldPlan, folds=5))


def nothing(line: Line, patch: pytest.MonkeyPatch) -> None:
    """What is asked for changes instead."""


COSTS = Costs(default_bps=20.0)
CHANGES: dict[str, tuple[Callable[[Line, pytest.MonkeyPatch], None], dict[str, Any]]] = {
    "one bar": (a_bar, {}),
    "the algorithm's version": (the_version, {}),
    "the folds": (the_folds, {}),
    "one basis point of cost": (nothing, {"costs": Costs(default_bps=21.0)}),
    "the seed": (nothing, {"seed": 43}),
    "the horizon": (nothing, {"horizon": 2}),
    "the hold-out": (nothing, {"holdout": 60}),
}


@pytest.mark.parametrize(("change", "fields"), CHANGES.values(), ids=CHANGES)
async def test_what_changes_a_result_is_new_work(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Line, pytest.MonkeyPatch], None],
    fields: dict[str, Any],
) -> None:
    # However few digits of a hyper-parameter count: nobody searches over the others.
    line.settings["float_digits"] = 1
    await searched(line, EARLIER, costs=COSTS)
    change(line, monkeypatch)
    _, search = await searched(line, LATER, **{"costs": COSTS} | fields)
    assert len(search.evaluated) == 4


@pytest.mark.parametrize(("digits", "trained"), [(5, 0), (6, 4)])
async def test_the_precision_says_which_configurations_are_the_same(line: Line, digits: int, trained: int) -> None:
    line.settings["float_digits"] = digits
    await searched(line, EARLIER)
    nearly = {"alpha": (0.0100001, 0.0500004), "l1_ratio": (0.1, 0.9)}
    _, search = await searched(line, LATER, param_grid=nearly)
    assert len(search.evaluated) == trained


TWINS = {"alpha": (0.01, 0.01000001), "l1_ratio": (0.1,)}


@pytest.mark.parametrize(
    ("settings", "once", "again"),
    [
        ({}, 1, 0),
        ({"use_fingerprint_db": False}, 1, 1),
        ({"skip_duplicate": False}, 2, 2),
        ({"skip_duplicate": False, "use_fingerprint_db": False}, 2, 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
async def test_the_settings_say_what_is_skipped(line: Line, settings: dict[str, bool], once: int, again: int) -> None:
    line.settings |= settings
    for work, trained in ((EARLIER, once), (LATER, again)):
        _, search = await searched(line, work, param_grid=TWINS)
        assert len(search.evaluated) == trained
    async with line.db.snapshot() as tx:
        known = (await fingerprints.stats(tx)).fingerprints
    assert known == (1 if settings.get("use_fingerprint_db", True) else 0)


async def test_of_a_search_by_itself_nothing_is_trained_twice(line: Line) -> None:
    line.settings["use_fingerprint_db"] = False
    name, search = await searched(line, EARLIER, strategy="pbt", param_grid=None, population_size=4, num_generations=3)
    known, histories = await left(line, name)
    # Elastic nets train anew in each generation: who goes on is known.
    assert sorted(search.evaluated) == [trial.trial for trial in known]
    completed = {trial.trial for trial in known if trial.status is TrialStatus.COMPLETED}
    assert completed
    assert completed <= histories.keys()


async def test_failures_are_not_known(line: Line) -> None:
    grid = {"alpha": (0.01, 1000.0), "l1_ratio": (0.5,)}
    await searched(line, EARLIER, param_grid=grid)
    name, search = await searched(line, LATER, param_grid=grid)
    assert search.evaluated == []
    known, _ = await left(line, name)
    assert [trial.status for trial in known] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    said = [(event.trial, event.event) for event in await events(line.db, "trial-events", name)]
    assert ("t00002", "started") in said


async def test_what_a_driver_that_died_has_trained_is_known_to_others(line: Line) -> None:
    name = await line.admit(search_request(request_id="dies"), EARLIER)
    with pytest.raises(KeyboardInterrupt):
        await line.lead(name, Unplugged(breaks_after=3))
    _, search = await searched(line, LATER)
    assert search.evaluated == ["t00004"]
    # Begun again, it finds what the other has trained meanwhile.
    again = Inline()
    found = await line.lead(name, again)
    assert again.evaluated == []
    assert (found.state, (found.summary or {})["cached"]) == (State.SELECTED, 1)


class Forgetful(Inline):
    """Has everything forgotten in the middle of a search."""

    def __init__(self, db: Database, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.db, self.loop = db, loop

    def __call__(self, *args: Any) -> None:
        *others, tell = args

        def telling(outcome: Any) -> None:
            tell(outcome)
            asyncio.run_coroutine_threadsafe(self.forget(), self.loop).result()

        super().__call__(*(*others, telling))

    async def forget(self) -> None:
        async with self.db.transaction() as tx:
            await fingerprints.clear_all(tx)


async def test_clearing_in_the_middle_of_a_search_disturbs_it_in_nothing(line: Line) -> None:
    first, _ = await searched(line, EARLIER)
    rows = await _ledger(line)
    search = Forgetful(line.db, asyncio.get_running_loop())
    name, _ = await searched(line, LATER, search, param_grid=OTHER_ALPHAS)
    assert (await line.found(name)).state is State.SELECTED
    (before, _), (after, histories) = await left(line, first), await left(line, name)
    assert all(trial.status is TrialStatus.COMPLETED for trial in before + after)
    assert len(histories) == 4
    assert (await _ledger(line)).items() >= rows.items()
    # Whatever was forgotten is trained again, and counts as little in the ledger as before.
    rows = await _ledger(line)
    async with line.db.transaction() as tx:
        await fingerprints.clear_all(tx)
    _, again = await searched(line, 3)
    assert len(again.evaluated) == 4
    assert await _ledger(line) == rows


async def test_each_deploys_by_its_own_clause_whoever_has_trained(line: Line) -> None:
    write_market(line.directory / "features", "AAA")
    await searched(line, EARLIER, deploy=Deploy(auto=True, ensemble_name="one", top_n=1))
    name, search = await searched(line, LATER, deploy=Deploy(auto=True, ensemble_name="two", top_n=2))
    found = await line.found(name)
    assert search.evaluated == []
    assert found.state is State.DEPLOYING
    assert found.verdict is not None
    assert found.verdict.trials == 4


async def test_two_tickers_objectives_by_different_metrics_are_not_the_same(line: Line) -> None:
    fields = {"strategy": "multi_ticker_pbt", "tickers": ("AAA", "BBB"), "param_grid": None, **SIZES["pbt"]}
    await searched(line, EARLIER, **fields)
    name, search = await searched(line, LATER, metric="psr", **fields)
    assert search.evaluated
    known, _ = await left(line, name)
    for trial in known:
        metrics = trial.metrics or {}
        if (objective := metrics["objective"]) is not None:
            # The mean and the least of probabilities.
            assert 0.0 <= objective <= 2.0 * (metrics["psr"] or 0.0)


async def _ledger(line: Line) -> dict[tuple[str, str], tuple[str, float | None]]:
    async with line.db.snapshot() as tx:
        rows = await ledger.of_lineages(tx, [lineage_key("AAA", timeframe="1d", terms=Terms())])
    return {(row.lineage, row.fingerprint): (row.experiment, row.sharpe_per_session) for row in rows}
