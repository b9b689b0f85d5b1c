"""The migrations end at exactly the schema that the tables say, on each kind of database."""

import re
from collections.abc import AsyncIterator

import pytest_asyncio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.store import migrations
from orchestrator.store.tables import metadata
from tests.contracts.store.connecting import connected

_ON_POSTGRESQL = """
    SELECT attrelid::regclass || '.' || attname,
           concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
           LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""
_ON_SQLITE = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"


@pytest_asyncio.fixture
async def connection(url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction on an empty database."""
    async with connected(url) as connection:
        yield connection


def _schema(connection: Connection) -> dict[str, list[str]]:
    """All that the database says of every table and index but Alembic's, as sorted clauses, however it is laid out."""
    rows = connection.execute(text(_ON_SQLITE if connection.dialect.name == "sqlite" else _ON_POSTGRESQL))
    return {
        name: sorted(re.sub(r"\s+", " ", clause).strip() for clause in re.split(r",\s+(?![^()]*\))|\n", said))
        for name, said in rows
        if not name.startswith("alembic_version")
    }


def _to_nothing(connection: Connection) -> None:
    command.downgrade(migrations.configuration(connection), "base")
    assert _schema(connection) == {}


async def test_the_migrated_schema_is_what_the_tables_say(connection: AsyncConnection) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    await connection.run_sync(migrations.upgrade)
    assert await connection.run_sync(differences) == []


async def test_the_migrated_schema_has_the_same_conditions_and_constraints(connection: AsyncConnection) -> None:
    # Alembic compares neither the conditions of partial indexes, nor check constraints, nor defaults in JSON.
    await connection.run_sync(migrations.upgrade)
    migrated = await connection.run_sync(_schema)
    assert any("WHERE" in clause for clauses in migrated.values() for clause in clauses)
    await connection.run_sync(_to_nothing)
    await connection.run_sync(metadata.create_all)
    assert await connection.run_sync(_schema) == migrated


async def test_down_to_nothing_and_up_again_gives_the_same_schema(connection: AsyncConnection) -> None:
    await connection.run_sync(migrations.upgrade)
    first = await connection.run_sync(_schema)
    await connection.run_sync(_to_nothing)
    await connection.run_sync(migrations.upgrade)
    assert await connection.run_sync(_schema) == first
