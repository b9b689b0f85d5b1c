"""Trials: planned, taken up and finished by the batch."""

import numpy as np
import pytest

from orchestrator.store import trials
from orchestrator.store.database import Database
from orchestrator.store.errors import TrialsNotOpen, UnknownExperiment
from orchestrator.store.tables import TrialStatus
from tests.contracts.store.makers import NOW, REASON, completed, events, everything, founded, later, planned


async def _planned(db: Database, count: int) -> str:
    experiment = await founded(db)
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, planned(count), NOW)
    return experiment


async def test_planned_trials_are_written_with_their_events_in_order(db: Database) -> None:
    experiment = await _planned(db, 3)
    async with db.snapshot() as tx:
        rows = await trials.of_experiment(tx, experiment)
    assert [(row.trial, row.status, row.created_at) for row in rows] == [
        (plan.trial, TrialStatus.CREATED, NOW) for plan in planned(3)
    ]
    assert [(row.tickers, row.configuration, row.fingerprint, row.data_hash) for row in rows] == [
        (plan.tickers, plan.configuration, plan.fingerprint, plan.data_hash) for plan in planned(3)
    ]
    said = await events(db, "trial-events", experiment)
    assert [(event.event, event.trial, event.sequence) for event in said] == [
        ("created", f"t{n:05d}", n + 1) for n in range(3)
    ]
    assert said[2].configuration == planned(3)[2].configuration


async def test_planning_again_writes_only_what_is_new(db: Database) -> None:
    experiment = await _planned(db, 3)
    before = await everything(db)
    async with db.transaction() as tx:
        assert await trials.plan(tx, experiment, planned(3), later(1)) == ()
    assert await everything(db) == before
    async with db.transaction() as tx:
        assert await trials.plan(tx, experiment, planned(5), later(1)) == ("t00003", "t00004")
    assert [event.sequence for event in await events(db, "trial-events")] == [1, 2, 3, 4, 5]


async def test_trials_are_taken_up_and_again_after_a_driver_has_died(db: Database) -> None:
    experiment = await _planned(db, 3)
    for seconds in (1, 2):
        async with db.transaction() as tx:
            await trials.start(tx, experiment, ["t00002", "t00000"], later(seconds))
    async with db.snapshot() as tx:
        rows = await trials.of_experiment(tx, experiment)
    assert [(row.status, row.started_at) for row in rows] == [
        (TrialStatus.RUNNING, later(2)),
        (TrialStatus.CREATED, None),
        (TrialStatus.RUNNING, later(2)),
    ]
    started = [event.trial for event in await events(db, "trial-events") if event.event == "started"]
    assert started == ["t00002", "t00000"] * 2


async def test_finished_trials_keep_their_scores_reasons_and_histories(db: Database) -> None:
    experiment = await _planned(db, 3)
    outcomes: list[trials.Completed | trials.Failed] = [completed("t00001"), trials.Failed("t00000", (REASON,), 0.25)]
    async with db.transaction() as tx:
        await trials.finish(tx, experiment, outcomes, later(3))

    async with db.snapshot() as tx:
        failed, ended, still_open = await trials.of_experiment(tx, experiment)
        histories = await trials.histories(tx, experiment, ["t00000", "t00001", "t00002"])
        counts = await trials.tally(tx, experiment)
    assert (failed.status, failed.reasons, failed.metrics, failed.eligible) == ("failed", (REASON,), None, None)
    assert (failed.seconds, failed.finished_at) == (0.25, later(3))
    assert (ended.status, ended.metrics) == ("completed", {"sharpe_ratio": 1.25, "sortino_ratio": None})
    assert (ended.eligible, ended.reasons, ended.seconds) == (True, (), 0.5)
    assert (still_open.status, still_open.finished_at) == ("created", None)
    assert counts == {"created": 1, "running": 0, "completed": 1, "failed": 1}
    assert histories.keys() == {"t00001"}
    np.testing.assert_array_equal(histories["t00001"].prediction, [0.01, np.nan, -0.02])
    np.testing.assert_array_equal(histories["t00001"].profit, [0.01, np.nan])
    said = (await events(db, "trial-events"))[3:]
    assert [(event.event, event.trial, event.sequence) for event in said] == [
        ("completed", "t00001", 4),
        ("failed", "t00000", 5),
    ]
    assert said[0].metrics == ended.metrics


async def test_nothing_of_a_batch_is_written_when_one_trial_in_it_is_not_open(db: Database) -> None:
    experiment = await _planned(db, 3)
    async with db.transaction() as tx:
        await trials.finish(tx, experiment, [completed("t00000")], NOW)
    before = await everything(db)
    for names in (["t00001", "t00000"], ["t00001", "stranger"], ["t00001", "t00001"]):
        with pytest.raises(TrialsNotOpen) as refused:
            async with db.transaction() as tx:
                await trials.finish(tx, experiment, [completed(name) for name in names], later(1))
        assert refused.value.trials == (names[1],)
        with pytest.raises(TrialsNotOpen):
            async with db.transaction() as tx:
                await trials.start(tx, experiment, names, later(1))
    assert await everything(db) == before


async def test_an_empty_batch_writes_nothing(db: Database) -> None:
    experiment = await _planned(db, 1)
    before = await everything(db)
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, [], NOW)
        await trials.start(tx, experiment, [], NOW)
        await trials.finish(tx, experiment, [], NOW)
    assert await everything(db) == before


async def test_trials_belong_to_an_experiment(db: Database) -> None:
    with pytest.raises(UnknownExperiment):
        async with db.transaction() as tx:
            await trials.plan(tx, "nobody", planned(1), NOW)


async def test_a_thousand_trials_are_finished_in_one_transaction(db: Database) -> None:
    experiment = await _planned(db, 1000)
    async with db.transaction() as tx:
        await trials.finish(tx, experiment, [completed(plan.trial) for plan in planned(1000)], NOW)
    async with db.snapshot() as tx:
        assert (await trials.tally(tx, experiment))[TrialStatus.COMPLETED] == 1000
    said = await events(db, "trial-events", experiment)
    assert [event.sequence for event in said] == list(range(1, 2001))
    assert [event.trial for event in said[1000:]] == [plan.trial for plan in planned(1000)]
