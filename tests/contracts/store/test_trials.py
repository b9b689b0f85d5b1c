"""Trials: planned, taken up and finished by the batch."""

from dataclasses import replace

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
    assert counts == {"created": 1, "running": 0, "completed": 1, "stopped_early": 0, "failed": 1}
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


async def test_a_trial_tells_its_steps_and_ends_early_with_the_score_of_the_last(db: Database) -> None:
    experiment = await _planned(db, 2)
    names = [plan.trial for plan in planned(2)]
    async with db.transaction() as tx:
        await trials.start(tx, experiment, names, later(1))
        await trials.report(tx, experiment, [_reported(names[0], 1, 11, 0.5), _reported(names[1], 1, 11, None)], NOW)
    async with db.transaction() as tx:
        await trials.report(tx, experiment, [_reported(names[0], 2, 33, 0.7)], later(2))
        await trials.stop(tx, experiment, names, later(3))
    async with db.snapshot() as tx:
        rows = await trials.of_experiment(tx, experiment)
        steps = await trials.steps(tx, experiment)
    assert [(row.status, row.metrics, row.finished_at) for row in rows] == [
        (TrialStatus.STOPPED_EARLY, {"sharpe_ratio": 0.7}, later(3)),
        (TrialStatus.STOPPED_EARLY, {"sharpe_ratio": None}, later(3)),
    ]
    assert {name: [step.budget for step in of_it.values()] for name, of_it in steps.items()} == {
        names[0]: [11, 33],
        names[1]: [11],
    }
    told = [(event.event, event.trial) for event in await events(db, "trial-events", experiment)][4:]
    assert told == [("reported", names[0]), ("reported", names[1]), ("reported", names[0])] + [
        ("stopped_early", name) for name in names
    ]


async def test_a_trial_may_report_several_steps_at_once(db: Database) -> None:
    experiment = await _planned(db, 1)
    (plan,) = planned(1)
    steps = [_reported(plan.trial, step, 10 * step, 0.1 * step) for step in (1, 2)]
    async with db.transaction() as tx:
        await trials.report(tx, experiment, steps, later(1))
        assert list((await trials.steps(tx, experiment))[plan.trial].values()) == steps
    assert [event.step for event in (await events(db, "trial-events", experiment))[1:]] == [1, 2]


async def test_a_trial_that_ended_reports_no_more(db: Database) -> None:
    experiment = await _planned(db, 1)
    (plan,) = planned(1)
    async with db.transaction() as tx:
        await trials.start(tx, experiment, [plan.trial], later(1))
        await trials.finish(tx, experiment, [completed(plan.trial)], later(2))
    with pytest.raises(TrialsNotOpen):
        async with db.transaction() as tx:
            await trials.report(tx, experiment, [_reported(plan.trial, 2, 33, 0.1)], later(3))
    with pytest.raises(TrialsNotOpen):
        async with db.transaction() as tx:
            await trials.stop(tx, experiment, [plan.trial], later(3))


async def test_a_clone_is_told_with_its_parent_and_keeps_what_it_inherited(db: Database) -> None:
    experiment = await founded(db)
    parent, clone = planned(2)
    clone = replace(clone, parent=parent.trial, inherited=[({"alpha": 0.1}, 11), ({"alpha": 0.2}, 33)])
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, [parent, clone], NOW)
    async with db.snapshot() as tx:
        found = await trials.of_experiment(tx, experiment)
    assert [(row.parent, [tuple(stage) for stage in row.inherited]) for row in found] == [
        (None, []),
        (parent.trial, [({"alpha": 0.1}, 11), ({"alpha": 0.2}, 33)]),
    ]
    assert [event.parent for event in await events(db, "trial-events", experiment)] == [None, parent.trial]


async def _known(db: Database, *cached: trials.Cached) -> str:
    """Another experiment of two trials, some of which are known."""
    experiment = await founded(db, 2)
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, planned(2), NOW)
        await trials.finish(tx, experiment, cached, later(1))
    return experiment


async def test_a_trial_that_is_known_ends_with_the_score_and_the_history_of_the_other(db: Database) -> None:
    first = await _planned(db, 1)
    async with db.transaction() as tx:
        await trials.finish(tx, first, [completed("t00000")], NOW)
    metrics: dict[str, float | None] = {"sharpe_ratio": 1.25}
    second = await _known(db, trials.Cached("t00001", metrics, False, (REASON,), 1, None, first, "t00000"))
    async with db.snapshot() as tx:
        still_open, ended = await trials.of_experiment(tx, second)
        histories = {name: await trials.histories(tx, name, ["t00000", "t00001"]) for name in (first, second)}
        steps = await trials.steps(tx, second)
    assert still_open.status is TrialStatus.CREATED
    assert (ended.status, ended.metrics, ended.eligible, ended.reasons) == ("completed", metrics, False, (REASON,))
    assert (ended.seconds, ended.started_at, ended.finished_at) == (0.0, None, later(1))
    assert histories[second].keys() == {"t00001"}
    for name in ("prediction", "profit"):
        mine, theirs = getattr(histories[second]["t00001"], name), getattr(histories[first]["t00000"], name)
        np.testing.assert_array_equal(mine, theirs)
    assert (steps["t00001"][1].recorded_by, steps["t00001"][1].reasons) == (first, (REASON,))
    told = (await events(db, "trial-events", second))[-1]
    assert (told.event, told.trial, told.sequence) == ("cached", "t00001", 3)
    assert (told.recorded_by, told.recorded_trial, told.metrics, told.eligible) == (first, "t00000", metrics, False)
    assert told.reasons == (REASON,)


async def test_a_trial_that_was_trained_in_full_on_the_way_keeps_that_history(db: Database) -> None:
    experiment = await _planned(db, 1)
    first, other = (completed("t00000", values).history for values in ((0.1, 0.2), (0.3, 0.4)))
    async with db.transaction() as tx:
        for history in (first, other):
            await trials.keep_histories(tx, experiment, {"t00000": history})
        cached = trials.Cached("t00000", {"sharpe_ratio": 1.0}, True, (), 1, None, experiment, "t00000")
        await trials.finish(tx, experiment, [cached], NOW)
        found = await trials.histories(tx, experiment, ["t00000"])
    np.testing.assert_array_equal(found["t00000"].prediction, first.prediction)


async def test_a_step_that_was_known_is_reported_as_that(db: Database) -> None:
    experiment = await _planned(db, 1)
    known = replace(_reported("t00000", 1, 11, 0.5), recorded_by="earlier", reasons=(REASON,))
    async with db.transaction() as tx:
        await trials.report(tx, experiment, [known], NOW)
        assert (await trials.steps(tx, experiment))["t00000"] == {1: known}
    assert (await events(db, "trial-events", experiment))[-1].recorded_by == "earlier"


def _reported(trial: str, step: int, budget: int, sharpe: float | None) -> trials.Reported:
    return trials.Reported(trial, step, budget, {"sharpe_ratio": sharpe}, eligible=True)
