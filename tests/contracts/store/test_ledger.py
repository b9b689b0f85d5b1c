"""The ledger and the looks at hold-outs only grow, and count each thing once."""

import asyncio
from dataclasses import replace

import numpy as np

from orchestrator.store import ledger
from orchestrator.store.database import Database
from orchestrator.store.ledger import LedgerRow
from tests.contracts.store.makers import NOW, digest, everything, later


def _row(number: int, lineage: str = "l", sharpe: float | None = 0.1) -> LedgerRow:
    profit = np.linspace(-0.1, 0.1, 5)
    return LedgerRow(lineage, digest(number), "e", "AAPL", sharpe, 5, digest(0), profit.astype(np.float32))


async def test_a_lineage_gives_back_what_was_recorded(db: Database) -> None:
    async with db.transaction() as tx:
        assert await ledger.record(tx, [_row(2), _row(1, sharpe=None), _row(3, lineage="other")], NOW) == 3
        first, second = await ledger.of_lineage(tx, "l")
    assert (first.fingerprint, first.sharpe_per_session) == (digest(1), None)
    assert (second.fingerprint, second.sharpe_per_session) == (digest(2), 0.1)
    assert (second.experiment, second.ticker, second.sessions, second.span_digest) == ("e", "AAPL", 5, digest(0))
    np.testing.assert_array_equal(second.profit, _row(2).profit)
    assert second.profit.dtype == np.float32


async def test_a_configuration_counts_once_and_its_first_score_stands(db: Database) -> None:
    async with db.transaction() as tx:
        await ledger.record(tx, [_row(1)], NOW)
    before = await everything(db)
    async with db.transaction() as tx:
        assert await ledger.record(tx, [replace(_row(1), sharpe_per_session=9.0, experiment="f")], later(1)) == 0
        assert await ledger.record(tx, [], NOW) == 0
    assert await everything(db) == before


async def test_profits_are_kept_as_single_precision(db: Database) -> None:
    async with db.transaction() as tx:
        await ledger.record(tx, [replace(_row(1), profit=np.array([0.1]))], NOW)
        (row,) = await ledger.of_lineage(tx, "l")
    assert row.profit.dtype == np.float32


async def test_looks_at_a_span_are_numbered_and_looking_again_is_the_same_look(db: Database) -> None:
    async def look(lineage: str, span: str, experiment: str) -> int:
        async with db.transaction() as tx:
            return await ledger.record_look(tx, lineage, span, experiment, NOW)

    assert [await look("l", "s", experiment) for experiment in "abacb"] == [1, 2, 1, 3, 2]
    assert await look("l", "other", "a") == 1
    assert await look("other", "s", "z") == 1


async def test_looks_at_once_get_numbers_of_their_own(db: Database) -> None:
    async def look(experiment: str) -> int:
        async with db.transaction() as tx:
            return await ledger.record_look(tx, "l", "s", experiment, NOW)

    numbers = await asyncio.gather(*(look(experiment) for experiment in "abcdefgh"))
    assert sorted(numbers) == list(range(1, 9))
