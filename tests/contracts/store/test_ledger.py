"""The ledger and the looks at hold-outs only grow, and count each thing once."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta, timezone

import numpy as np

from orchestrator.core.gate import Span
from orchestrator.store import ledger
from orchestrator.store.database import Database
from orchestrator.store.ledger import LedgerRow
from tests.contracts.store.makers import NOW, digest, everything, later

DAY = timedelta(days=1)


def _row(number: int, ticker: str = "AAPL", sharpe: float | None = 0.1) -> LedgerRow:
    profit = np.linspace(-0.1, 0.1, 5).astype(np.float32)
    return LedgerRow(f"lineage of {ticker}", digest(number), "e", ticker, sharpe, 5, digest(0), profit)


def _span(first: int, last: int) -> Span:
    return Span(NOW + first * DAY, NOW + last * DAY)


async def _looks(db: Database, experiment: str, spans: Mapping[str, Span]) -> int:
    async with db.transaction() as tx:
        return await ledger.record_looks(tx, spans, experiment, NOW)


async def test_a_lineage_gives_back_what_was_recorded(db: Database) -> None:
    async with db.transaction() as tx:
        assert await ledger.record(tx, [_row(2), _row(1, sharpe=None), _row(3, "MSFT")], NOW) == 3
        first, second = await ledger.of_lineages(tx, ["lineage of AAPL"])
    assert (first.fingerprint, first.sharpe_per_session) == (digest(1), None)
    assert (second.fingerprint, second.sharpe_per_session) == (digest(2), 0.1)
    assert (second.experiment, second.ticker, second.sessions, second.span_digest) == ("e", "AAPL", 5, digest(0))
    np.testing.assert_array_equal(second.profit, _row(2).profit)
    assert second.profit.dtype == np.float32


async def test_several_lineages_are_read_together_one_ticker_after_the_other(db: Database) -> None:
    async with db.transaction() as tx:
        await ledger.record(tx, [_row(1, "MSFT"), _row(2, "IBM"), _row(2, "AAPL"), _row(1, "AAPL")], NOW)
        rows = await ledger.of_lineages(tx, ["lineage of MSFT", "lineage of AAPL", "unheard of"])
        assert await ledger.of_lineages(tx, []) == []
    assert [(row.ticker, row.fingerprint) for row in rows] == [
        ("AAPL", digest(1)),
        ("AAPL", digest(2)),
        ("MSFT", digest(1)),
    ]


async def test_a_configuration_on_several_tickers_has_a_row_of_each(db: Database) -> None:
    async with db.transaction() as tx:
        assert await ledger.record(tx, [_row(1, "AAPL"), _row(1, "MSFT")], NOW) == 2


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
        (row,) = await ledger.of_lineages(tx, ["lineage of AAPL"])
    assert row.profit.dtype == np.float32


async def test_looks_are_numbered_and_looking_again_is_the_same_look(db: Database) -> None:
    span = {"l": _span(0, 10)}
    assert [await _looks(db, experiment, span) for experiment in "abacb"] == [1, 2, 1, 3, 2]


async def test_a_look_at_a_part_of_what_was_seen_comes_after_it(db: Database) -> None:
    assert await _looks(db, "a", {"l": _span(0, 10)}) == 1
    assert await _looks(db, "b", {"l": _span(10, 20)}) == 2
    assert await _looks(db, "c", {"l": _span(5, 6)}) == 2
    assert await _looks(db, "d", {"l": _span(0, 20)}) == 4
    assert await _looks(db, "e", {"l": _span(21, 30)}) == 1
    assert await _looks(db, "f", {"another": _span(0, 10)}) == 1


async def test_an_experiment_s_own_looks_do_not_count_against_it(db: Database) -> None:
    assert await _looks(db, "a", {"l": _span(0, 10)}) == 1
    assert await _looks(db, "a", {"l": _span(0, 11)}) == 1
    assert await _looks(db, "b", {"l": _span(0, 10)}) == 3


async def test_the_look_at_several_tickers_is_the_one_that_was_looked_at_most(db: Database) -> None:
    assert await _looks(db, "a", {"l": _span(0, 10)}) == 1
    assert await _looks(db, "b", {"l": _span(0, 10), "m": _span(0, 10)}) == 2
    assert await _looks(db, "c", {"m": _span(0, 10), "n": _span(0, 10)}) == 2
    assert await _looks(db, "c", {"n": _span(0, 10)}) == 1


async def test_a_span_is_the_same_in_any_time_zone(db: Database) -> None:
    span = _span(0, 10)
    abroad = Span(*(moment.astimezone(timezone(timedelta(hours=9))) for moment in (span.start, span.end)))
    await _looks(db, "z", {"l": span})
    assert await _looks(db, "a", {"l": span}) == 2
    assert await _looks(db, "b", {"l": span}) == 3
    assert await _looks(db, "a", {"l": abroad}) == 2


async def test_looks_at_once_get_numbers_of_their_own(db: Database) -> None:
    spans = {"l": _span(0, 10), "m": _span(0, 10)}
    looking = (
        _looks(db, experiment, dict(sorted(spans.items(), reverse=number % 2 == 0)))
        for number, experiment in enumerate("abcdefgh")
    )
    assert sorted(await asyncio.gather(*looking)) == list(range(1, 9))


async def test_what_an_experiment_has_trained_further_is_one_configuration_with_its_newest_score(db: Database) -> None:
    row = _row(1)
    other = replace(row, experiment="another", sharpe_per_session=0.9)
    async with db.transaction() as tx:
        assert await ledger.record(tx, [row], NOW) == 1
        await ledger.record(tx, [replace(row, sharpe_per_session=0.7)], NOW)
        assert await ledger.record(tx, [other], NOW) == 0
    async with db.snapshot() as tx:
        (found,) = await ledger.of_lineages(tx, [row.lineage])
    assert (found.experiment, found.sharpe_per_session) == (row.experiment, 0.7)
