"""The migrations end at exactly the schema that the tables say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.store import migrations
from orchestrator.store.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty SQLite file."""
    engine = create_engine(f"sqlite:///{tmp_path}/orchestrator.db")
    yield engine
    engine.dispose()


def _schema(connection: Connection) -> dict[str, list[str]]:
    """Every table's and index's own SQL but Alembic's, as its sorted clauses, without how it is laid out."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return {
        name: sorted(re.sub(r"\s+", " ", clause).strip() for clause in re.split(r",\s+(?![^()]*\))|\n", sql))
        for name, sql in rows
        if name != "alembic_version"
    }


def test_the_migrated_schema_is_what_the_tables_say(engine: Engine) -> None:
    with engine.begin() as connection:
        migrations.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrated_schema_has_the_same_conditions_and_constraints(engine: Engine, tmp_path: Path) -> None:
    # Alembic compares neither the conditions of partial indexes nor check constraints.
    with engine.begin() as connection:
        migrations.upgrade(connection)
        migrated = _schema(connection)
    direct = create_engine(f"sqlite:///{tmp_path}/direct.db")
    with direct.begin() as connection:
        metadata.create_all(connection)
        assert _schema(connection) == migrated
    direct.dispose()


def test_down_to_nothing_and_up_again_gives_the_same_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        migrations.upgrade(connection)
        first = _schema(connection)
        command.downgrade(migrations.configuration(connection), "base")
        assert _schema(connection) == {}
        migrations.upgrade(connection)
        assert _schema(connection) == first


def test_the_tables_can_be_written_for_postgresql() -> None:
    dialect = make_url("postgresql://").get_dialect()()
    tables = metadata.sorted_tables
    statements = [str(CreateTable(table).compile(dialect=dialect)) for table in tables]
    indexes = [str(CreateIndex(index).compile(dialect=dialect)) for table in tables for index in table.indexes]
    assert any("id BIGSERIAL" in statement for statement in statements)
    assert any("WHERE state IN ('accepted', 'waiting', 'running', 'searched')" in index for index in indexes)
