"""What pages show besides lists, on every database."""

from orchestrator.core.lifecycle import State
from orchestrator.store import commands, experiments, looking, trials
from orchestrator.store.database import Database
from schemas.experiments import ExperimentCompleted
from schemas.topics import EXPERIMENT_EVENTS
from tests.contracts.store.makers import NOW, REASON, completed, founded, planned, progress


async def test_the_newest_events_of_a_key_come_newest_first(db: Database) -> None:
    mine, other = await founded(db, 1), await founded(db, 2, name="other")
    async with db.transaction() as tx:
        for finished in (1, 2):
            await experiments.note(tx, mine, progress(mine, finished), NOW)
        await experiments.note(tx, other, progress(other), NOW)
    async with db.snapshot() as tx:
        newest = await looking.told(tx, EXPERIMENT_EVENTS, mine, 2)
        assert [b'"finished":2' in newest[0][1], b'"finished":1' in newest[1][1]] == [True, True]
        assert len(await looking.told(tx, EXPERIMENT_EVENTS, mine, 10)) == 3
        assert await looking.told(tx, EXPERIMENT_EVENTS, "nobody", 10) == []


async def test_a_command_is_not_taken_up_then_done_or_refused(db: Database) -> None:
    async with db.transaction() as tx:
        for command in ("done", "refused"):
            await commands.claim(tx, command, b"{}", NOW)
        await commands.refuse(tx, "refused", (REASON,))
    async with db.snapshot() as tx:
        found = [await commands.outcome(tx, command) for command in ("new", "done", "refused")]
    assert found == [None, (), (REASON,)]


async def test_speed_is_that_of_searches_that_trained_everything(db: Database) -> None:
    for number, (strategy, cached) in enumerate((("grid", 0), ("grid", 5), ("random", 0)), 1):
        name = await founded(db, number, State.RUNNING, strategy=strategy)
        summary = ExperimentCompleted(
            experiment=name,
            request_id=f"request-{number}",
            sequence=0,
            emitted_at=NOW,
            finished=9 * number,
            failed=number,
            best=None,
            deflated_sharpe=None,
            seconds=5.0,
            cached=cached,
        )
        async with db.transaction() as tx:
            await experiments.advance(tx, name, State.SEARCHED, summary, NOW)
    async with db.snapshot() as tx:
        assert await looking.speed(tx, "elasticnet", "grid") == looking.Speed(1, 10, 5.0)
        assert (await looking.speed(tx, "elasticnet", "pbt")).per_second == 4.0
        assert (await looking.speed(tx, "lstm", "grid")).per_second is None


async def test_a_lineage_says_in_which_generation_a_score_was(db: Database) -> None:
    name = await founded(db, 1, State.RUNNING)
    founders, clone = planned(4), planned(1, first=4)[0]
    clone = trials.PlannedTrial(**{**vars(clone), "parent": "t00001"})
    async with db.transaction() as tx:
        await trials.plan(tx, name, [*founders, clone], NOW)
        metrics: dict[str, float | None] = {"sharpe_ratio": 0.5}
        await trials.report(tx, name, [trials.Reported("t00001", 1, 10, metrics, True)], NOW)
        await trials.finish(tx, name, [completed("t00004")], NOW)
    async with db.snapshot() as tx:
        found = await looking.lineage(tx, name, "sharpe_ratio", 10)
    assert [(each.trial, each.parent, each.generation, each.metric) for each in found] == [
        ("t00001", None, 1, 0.5),
        ("t00004", "t00001", 2, 1.25),
    ]
