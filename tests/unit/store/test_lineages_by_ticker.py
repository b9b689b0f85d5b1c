"""What was scored and looked at before lineages were a ticker's own still counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, text

from orchestrator.core.canonical import lineage_key
from orchestrator.core.dataset import terms_of
from orchestrator.store import migrations
from orchestrator.store.migrations.versions.r0002_lineages_by_ticker import lineage_of
from schemas.search import SearchRequest

THEN = "2026-01-01 00:00:00.000001"


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Connection]:
    """A database of the first version."""
    engine = create_engine(f"sqlite:///{tmp_path}/orchestrator.db")
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), "0001")
        yield connection
    engine.dispose()


def request(*tickers: str, **fields: Any) -> SearchRequest:
    return SearchRequest(request_id="r", strategy="grid", algorithm="elasticnet", tickers=tickers, **fields)


def write_experiment(connection: Connection, name: str, asked: SearchRequest) -> None:
    connection.execute(
        text(
            "INSERT INTO experiments (id, request_id, search_key, state, request, priority, trials, reasons, "
            "created_at, updated_at) VALUES (:name, :name, :name, 'failed', :request, 0, 1, '[]', :then, :then)"
        ),
        {"name": name, "request": asked.model_dump_json(), "then": THEN},
    )


def write_score(connection: Connection, lineage: str, fingerprint: str, experiment: str, ticker: str) -> None:
    connection.execute(
        text("INSERT INTO ledger VALUES (:lineage, :fingerprint, :experiment, :ticker, 0.1, 5, 's', x'00', :then)"),
        {"lineage": lineage, "fingerprint": fingerprint, "experiment": experiment, "ticker": ticker, "then": THEN},
    )


def write_look(connection: Connection, span: str, experiment: str, number: int) -> None:
    connection.execute(
        text("INSERT INTO holdout_looks VALUES ('old', :span, :experiment, :number, :then)"),
        {"span": span, "experiment": experiment, "number": number, "then": THEN},
    )


def lineage(asked: SearchRequest, ticker: str) -> str:
    return lineage_key(ticker, timeframe=asked.timeframe, terms=terms_of(asked, has_open=True))


def test_every_score_is_in_its_ticker_s_lineage_once(before: Connection) -> None:
    pair, single = request("A", "B"), request("A")
    write_experiment(before, "pair", pair)
    write_experiment(before, "single", single)
    write_score(before, "of A and B", "f1", "pair", "A")
    write_score(before, "of A and B", "f2", "pair", "B")
    write_score(before, "of A", "f1", "single", "A")
    write_score(before, "of A", "f3", "single", "A")
    migrations.upgrade(before)
    rows = before.execute(text("SELECT lineage, fingerprint, ticker FROM ledger")).all()
    assert sorted(map(tuple, rows)) == sorted(
        [
            (lineage(pair, "A"), "f1", "A"),
            (lineage(pair, "A"), "f3", "A"),
            (lineage(pair, "B"), "f2", "B"),
        ]
    )


def test_every_look_is_one_at_each_ticker_of_its_experiment(before: Connection) -> None:
    asked = request("A", "B")
    write_experiment(before, "e", asked)
    write_look(before, "2019-01-02T21:00:00Z/2019-03-01T21:00:00Z", "e", 3)
    migrations.upgrade(before)
    rows = before.execute(
        text("SELECT lineage, experiment, span_start, span_end, number, looked_at FROM holdout_looks")
    )
    seen = ("e", "2019-01-02 21:00:00.000000", "2019-03-01 21:00:00.000000", 3, THEN)
    assert {tuple(row) for row in rows} == {(lineage(asked, ticker), *seen) for ticker in "AB"}


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
