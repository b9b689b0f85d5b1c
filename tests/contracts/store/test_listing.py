"""Experiments and trials a page at a time, sorted and filtered by the database."""

from dataclasses import replace

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, listing, trials
from orchestrator.store.database import Database
from orchestrator.store.listing import ExperimentsWanted, Page, Trained, TrialsWanted
from orchestrator.store.tables import TrialStatus
from schemas.experiments import Survivor, SurvivorsSelected
from tests.contracts.store.makers import NOW, REASON, completed, founded, later, planned, progress


async def _scored(db: Database) -> str:
    """Six trials: scored 1, 3, 9 (not eligible) and with no score in this order, one failed, one not begun."""
    experiment = await founded(db)
    async with db.transaction() as tx:
        rows = planned(6)
        await trials.plan(tx, experiment, [*rows[:5], replace(rows[5], tickers=("MSFT",))], NOW)
        for number, sharpe in enumerate((1.0, 3.0, 9.0, None)):
            ended = replace(completed(f"t{number:05d}"), metrics={"sharpe_ratio": sharpe}, eligible=number != 2)
            await trials.finish(tx, experiment, [ended], later(number))
        await trials.finish(tx, experiment, [trials.Failed("t00004", (REASON,), 0.1)], later(9))
    return experiment


@pytest.mark.parametrize(
    ("wanted", "page", "total", "names"),
    [
        (TrialsWanted(), Page("trial"), 6, [0, 1, 2, 3, 4, 5]),
        (TrialsWanted(), Page("trial", descending=True, limit=2, offset=1), 6, [4, 3]),
        (TrialsWanted(), Page("sharpe_ratio", descending=True), 6, [2, 1, 0, 3, 4, 5]),
        (TrialsWanted(), Page("sharpe_ratio"), 6, [0, 1, 2, 3, 4, 5]),
        (TrialsWanted(scored_by="sharpe_ratio", eligible=True), Page("sharpe_ratio", descending=True), 2, [1, 0]),
        (TrialsWanted(statuses=(TrialStatus.FAILED,)), Page("trial"), 1, [4]),
        (TrialsWanted(ticker="MSFT"), Page("trial"), 1, [5]),
        (TrialsWanted(ticker="MS"), Page("trial"), 0, []),
        (TrialsWanted(), Page("trial", offset=5), 6, [5]),
        (TrialsWanted(), Page("trial", limit=5, offset=50), 6, []),
    ],
)
async def test_trials_come_by_the_page(
    db: Database, wanted: TrialsWanted, page: Page, total: int, names: list[int]
) -> None:
    experiment = await _scored(db)
    async with db.snapshot() as tx:
        found, rows = await listing.page_of_trials(tx, experiment, wanted, page)
    assert (found, [row.trial for row in rows]) == (total, [f"t{number:05d}" for number in names])


async def test_of_all_trials_those_better_than_all_before_make_the_curve(db: Database) -> None:
    experiment = await _scored(db)
    async with db.snapshot() as tx:
        best = await listing.best_so_far(tx, experiment, "sharpe_ratio", "max")
        least = await listing.best_so_far(tx, experiment, "sharpe_ratio", "min")
        dots = await listing.sketches(tx, experiment, "sharpe_ratio", 3)
    assert [(each.trial, each.metric, each.finished_at) for each in best] == [
        ("t00000", 1.0, later(0)),
        ("t00001", 3.0, later(1)),
    ]
    assert [each.trial for each in least] == ["t00000"]
    assert [(each.trial, each.metric) for each in dots] == [("t00000", 1.0), ("t00001", 3.0), ("t00002", 9.0)]


async def test_who_trained_a_trial_is_told_by_its_last_step(db: Database) -> None:
    experiment = await _scored(db)
    reported = trials.Reported("t00005", 1, 10, {"sharpe_ratio": 1.0}, True, (), "another")
    async with db.transaction() as tx:
        await trials.report(tx, experiment, [replace(reported, recorded_by=None), replace(reported, step=2)], NOW)
    async with db.snapshot() as tx:
        assert await listing.trained(tx, experiment, ["t00005", "t00004"]) == {"t00005": Trained(2, 10, "another")}
        assert len(await listing.trained(tx, experiment)) == 5


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (ExperimentsWanted(), [3, 2, 1]),
        (ExperimentsWanted(states=(State.RUNNING,)), [2]),
        (ExperimentsWanted(strategy="random"), [3]),
        (ExperimentsWanted(ticker="MSFT"), [2, 1]),
        (ExperimentsWanted(ticker="IBM"), [3]),
        (ExperimentsWanted(algorithm="lstm"), []),
        (ExperimentsWanted(text="_THE_2"), [2]),
        (ExperimentsWanted(text="%"), []),
    ],
)
async def test_experiments_come_by_what_is_wanted(db: Database, wanted: ExperimentsWanted, numbers: list[int]) -> None:
    await founded(db, 1, name="is_the_1")
    await founded(db, 2, State.RUNNING, name="is_the_2", now=later(1))
    await founded(db, 3, name="is_the_3", strategy="random", tickers=("IBM",), now=later(2))
    async with db.snapshot() as tx:
        total, rows = await listing.page_of_experiments(tx, wanted, Page("created_at", descending=True, limit=9))
    assert (total, [row.id for row in rows]) == (len(numbers), [f"is_the_{number}" for number in numbers])


async def test_experiments_are_sorted_by_how_far_they_are(db: Database) -> None:
    names = [await founded(db, number, State.RUNNING, name=f"e{number}") for number in (1, 2, 3)]
    async with db.transaction() as tx:
        await experiments.note(tx, names[0], progress(names[0], finished=1), NOW)
        await experiments.note(tx, names[1], progress(names[1], finished=10), NOW)
    async with db.snapshot() as tx:
        _, rows = await listing.page_of_experiments(tx, ExperimentsWanted(), Page("finished", descending=True))
    assert [row.id for row in rows] == ["e2", "e1", "e3"]
    assert rows[0].progress == {"finished": 10, "failed": 0, "best": None, "cached": 0}


async def test_the_survivors_are_kept_with_the_event_that_tells_of_them(db: Database) -> None:
    experiment = await founded(db, state=State.SEARCHED)
    survivor = Survivor(trial="t00001", tickers=("AAPL",), configuration={"alpha": 0.1}, rank=1, metric=1.5)
    told = SurvivorsSelected(
        experiment=experiment, request_id="request-1", sequence=0, emitted_at=NOW, survivors=(survivor,)
    )
    async with db.transaction() as tx:
        await experiments.advance(tx, experiment, State.SELECTED, told, NOW)
    async with db.snapshot() as tx:
        found = await experiments.get(tx, experiment)
    assert found.selection is not None
    assert found.selection["survivors"] == [survivor.model_dump(mode="json")]


async def test_what_became_of_a_request_is_known_by_its_id(db: Database) -> None:
    experiment = await founded(db)
    async with db.snapshot() as tx:
        found = await listing.asked(tx, "request-1")
        assert await listing.asked(tx, "request-2") is None
    assert found is not None
    assert (found.outcome, found.experiment) == ("accepted", experiment)
