"""Fingerprints: what is known of each, and that forgetting touches nothing else."""

import asyncio
from collections.abc import Sequence

import numpy as np
from sqlalchemy import delete

from orchestrator.store import fingerprints, ledger, trials
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint, Stats
from orchestrator.store.ledger import LedgerRow
from orchestrator.store.tables import trial_histories
from tests.contracts.store.makers import NOW, REASON, completed, digest, everything, founded, later, planned

METRICS = {"sharpe_ratio": 1.25, "sortino_ratio": None}


async def _trained(db: Database, number: int = 1, count: int = 2, *, steps: Sequence[int] = (1,)) -> str:
    """An experiment whose trials have gone through steps, the last of which completed them."""
    experiment = await founded(db, number)
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, planned(count), NOW)
        for step in steps[:-1]:
            rows = [
                trials.Reported(each.trial, step, 10 * step, {"sharpe_ratio": 0.5}, True) for each in planned(count)
            ]
            await trials.report(tx, experiment, rows, NOW)
        last = [trials.Completed(**{**vars(completed(each.trial)), "step": steps[-1]}) for each in planned(count)]
        await trials.finish(tx, experiment, last, NOW)
    return experiment


async def _record(db: Database, *rows: Fingerprint, seconds: float = 0) -> None:
    async with db.transaction() as tx:
        await fingerprints.record(tx, rows, later(seconds))


async def _results(db: Database, *numbers: int) -> dict[str, fingerprints.Result]:
    async with db.snapshot() as tx:
        return await fingerprints.results(tx, [digest(number) for number in numbers])


async def test_what_is_recorded_is_told_again_and_nothing_else_is_known(db: Database) -> None:
    experiment = await _trained(db)
    await _record(db, Fingerprint(digest(1), experiment, "t00000", 1, True))
    assert await _results(db, 1, 2) == {
        digest(1): fingerprints.Result(experiment, "t00000", 1, True, METRICS, True, ())
    }
    assert await _results(db) == {}
    async with db.snapshot() as tx:
        assert await fingerprints.exists(tx, digest(1))
        assert not await fingerprints.exists(tx, digest(2))


async def test_a_result_tells_why_it_is_not_eligible(db: Database) -> None:
    experiment = await founded(db)
    shut = trials.Completed(**{**vars(completed("t00000")), "eligible": False, "reasons": (REASON,)})
    async with db.transaction() as tx:
        await trials.plan(tx, experiment, planned(1), NOW)
        await trials.finish(tx, experiment, [shut], NOW)
    await _record(db, Fingerprint(digest(1), experiment, "t00000", 1, True))
    (result,) = (await _results(db, 1)).values()
    assert (result.eligible, result.reasons) == (False, (REASON,))


async def test_of_two_that_trained_the_same_the_first_is_known(db: Database) -> None:
    first, second = [await _trained(db, number) for number in (1, 2)]
    await _record(db, Fingerprint(digest(1), first, "t00000", 1, True))
    await _record(db, Fingerprint(digest(1), second, "t00001", 1, True), seconds=5)
    assert (await _results(db, 1))[digest(1)].experiment == first


async def test_a_step_on_the_way_gives_way_to_one_with_a_history(db: Database) -> None:
    first, second = await _trained(db, 1, steps=(1, 2)), await _trained(db, 2)
    on_the_way = Fingerprint(digest(1), first, "t00000", 1, False)
    await _record(db, on_the_way, Fingerprint(digest(2), first, "t00000", 2, True))
    found = await _results(db, 1, 2)
    assert [(each.step, each.whole, each.metrics) for each in found.values()] == [
        (1, False, {"sharpe_ratio": 0.5}),
        (2, True, METRICS),
    ]
    await _record(db, Fingerprint(digest(1), second, "t00001", 1, True), on_the_way)
    (result,) = (await _results(db, 1)).values()
    assert (result.experiment, result.whole) == (second, True)


async def test_without_its_history_a_result_is_no_final_score(db: Database) -> None:
    experiment = await _trained(db)
    await _record(db, Fingerprint(digest(1), experiment, "t00000", 1, True))
    async with db.transaction() as tx:
        await tx.execute(delete(trial_histories))
    assert not (await _results(db, 1))[digest(1)].whole


async def test_many_are_asked_for_at_once(db: Database) -> None:
    experiment = await _trained(db, count=1)
    await _record(db, *(Fingerprint(digest(number), experiment, "t00000", 1, True) for number in range(2_500)))
    assert len(await _results(db, *range(3_000))) == 2_500


async def test_it_is_counted_and_listed(db: Database) -> None:
    async with db.snapshot() as tx:
        assert await fingerprints.stats(tx) == Stats(0, 0, None, None, 0)
    first, second = [await _trained(db, number) for number in (1, 2)]
    rows = [Fingerprint(digest(number), first, f"t{number:05d}", 1, True) for number in (1, 0)]
    await _record(db, *rows)
    await _record(db, Fingerprint(digest(2), second, "t00000", 1, True), seconds=5)
    again = await founded(db, 3)
    async with db.transaction() as tx:
        await trials.plan(tx, again, planned(1), NOW)
        await trials.finish(tx, again, [trials.Cached("t00000", METRICS, True, (), 1, None, first, "t00001")], NOW)
        assert await fingerprints.stats(tx) == Stats(3, 2, NOW, later(5), 1)
        assert await fingerprints.of_experiment(tx, first) == rows[::-1]
        assert await fingerprints.of_experiment(tx, again) == []


async def test_clearing_forgets_one_experiment_s_or_all_and_touches_nothing_else(db: Database) -> None:
    first, second = [await _trained(db, number) for number in (1, 2)]
    profit = np.zeros(3, dtype=np.float32)
    async with db.transaction() as tx:
        await ledger.record(tx, [LedgerRow("lineage", digest(1), first, "AAPL", 0.1, 3, digest(0), profit)], NOW)
    before = await everything(db)
    rows = [Fingerprint(digest(number), first, f"t{number:05d}", 1, True) for number in (0, 1)]
    await _record(db, *rows, Fingerprint(digest(2), second, "t00000", 1, True))
    async with db.transaction() as tx:
        assert await fingerprints.clear(tx, first) == 2
        assert await fingerprints.clear(tx, first) == 0
    assert list(await _results(db, 0, 1, 2)) == [digest(2)]
    await _record(db, *rows)
    async with db.transaction() as tx:
        assert await fingerprints.clear_all(tx) == 3
    assert await everything(db) == before


async def test_writers_and_a_clearing_at_once_disturb_nobody(db: Database) -> None:
    experiments = [await _trained(db, number, count=1) for number in (1, 2)]

    async def write(experiment: str, order: int) -> None:
        for _ in range(5):
            rows = [Fingerprint(digest(number), experiment, "t00000", 1, True) for number in range(20)]
            await _record(db, *rows[::order])

    async def clear() -> None:
        for _ in range(5):
            async with db.transaction() as tx:
                await fingerprints.clear_all(tx)

    await asyncio.gather(write(experiments[0], 1), write(experiments[1], -1), clear())
    await write(experiments[0], 1)
    assert len(await _results(db, *range(20))) == 20
