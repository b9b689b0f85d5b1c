"""What was scored and looked at before lineages were a ticker's own still counts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from alembic import command
from sqlalchemy import MetaData, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.core.canonical import lineage_key
from orchestrator.core.dataset import terms_of
from orchestrator.store import migrations
from orchestrator.store.migrations.versions.r0002_lineages_by_ticker import lineage_of
from orchestrator.store.tables import holdout_looks
from schemas.search import SearchRequest
from tests.contracts.store.connecting import connected

THEN = datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def before(url: str) -> AsyncIterator[AsyncConnection]:
    """A database of the first version."""
    async with connected(url) as connection:
        await connection.run_sync(lambda sync: command.upgrade(migrations.configuration(sync), "0001"))
        yield connection


def request(*tickers: str, **fields: Any) -> SearchRequest:
    return SearchRequest(request_id="r", strategy="grid", algorithm="elasticnet", tickers=tickers, **fields)


async def write(connection: AsyncConnection, table: str, **row: Any) -> None:
    """Insert a row into a table as the database has it."""
    await connection.run_sync(
        lambda sync: sync.execute(Table(table, MetaData(), autoload_with=sync).insert(), row),
    )


async def write_experiment(connection: AsyncConnection, name: str, asked: SearchRequest) -> None:
    await write(
        connection,
        "experiments",
        **dict.fromkeys(("id", "request_id", "search_key"), name),
        **dict.fromkeys(("created_at", "updated_at"), THEN),
        state="failed",
        request=asked.model_dump(mode="json"),
        priority=0,
        trials=1,
        reasons=[],
    )


async def write_score(
    connection: AsyncConnection, lineage: str, fingerprint: str, experiment: str, ticker: str
) -> None:
    scored = {"lineage": lineage, "fingerprint": fingerprint, "experiment": experiment, "ticker": ticker}
    measured = {"sharpe_per_session": 0.1, "sessions": 5, "span_digest": "s", "profit": b"\0", "recorded_at": THEN}
    await write(connection, "ledger", **scored, **measured)


def lineage(asked: SearchRequest, ticker: str) -> str:
    return lineage_key(ticker, timeframe=asked.timeframe, terms=terms_of(asked, has_open=True))


async def test_every_score_is_in_its_ticker_s_lineage_once(before: AsyncConnection) -> None:
    pair, single = request("A", "B"), request("A")
    await write_experiment(before, "pair", pair)
    await write_experiment(before, "single", single)
    await write_score(before, "of A and B", "f1", "pair", "A")
    await write_score(before, "of A and B", "f2", "pair", "B")
    await write_score(before, "of A", "f1", "single", "A")
    await write_score(before, "of A", "f3", "single", "A")
    await before.run_sync(migrations.upgrade)
    rows = (await before.execute(text("SELECT lineage, fingerprint, ticker FROM ledger"))).all()
    assert sorted(map(tuple, rows)) == sorted(
        [
            (lineage(pair, "A"), "f1", "A"),
            (lineage(pair, "A"), "f3", "A"),
            (lineage(pair, "B"), "f2", "B"),
        ]
    )


async def test_every_look_is_one_at_each_ticker_of_its_experiment(before: AsyncConnection) -> None:
    asked = request("A", "B")
    await write_experiment(before, "e", asked)
    span = "2019-01-02T21:00:00Z/2019-03-01T21:00:00Z"
    await write(before, "holdout_looks", lineage="old", span=span, experiment="e", number=3, looked_at=THEN)
    await before.run_sync(migrations.upgrade)
    rows = (await before.execute(select(holdout_looks))).all()
    first, last = datetime(2019, 1, 2, 21, tzinfo=UTC), datetime(2019, 3, 1, 21, tzinfo=UTC)
    assert {tuple(row) for row in rows} == {(lineage(asked, ticker), "e", first, last, 3, THEN) for ticker in "AB"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"timeframe": "5m"},
        {"timeframe": "24h"},
        {"timeframe": "23h"},
        {"timeframe": "1w", "horizon": 3, "target_transform": "return"},
    ],
)
def test_lineages_are_named_as_the_search_names_them(fields: dict[str, Any]) -> None:
    asked = request("BRK.B", **fields)
    assert lineage_of("BRK.B", asked.model_dump(mode="json")) == lineage(asked, "BRK.B")
