"""Migrations: how the schema came to be what `tables` says, one step a file in `versions`."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from orchestrator.store.errors import UnusableDatabase


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for these migrations over an open connection."""
    config = Config()
    config.set_main_option("script_location", "orchestrator.store:migrations")
    config.attributes["connection"] = connection
    return config


def check(connection: Connection) -> None:
    """Only look whether the database may be upgraded.

    Raises:
        UnusableDatabase: another program's tables, or those of a newer version of this one.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(configuration(connection)).walk_revisions()}
    if current is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        fault = "it holds the tables of another program"
        raise UnusableDatabase(str(connection.engine.url), fault, "Point DATABASE_URL elsewhere.")
    if current is not None and current not in known:
        fault = f"a newer version of this program wrote it (schema {current})"
        remedy = "Start that version again, put back a backup from before it, or point DATABASE_URL elsewhere."
        raise UnusableDatabase(str(connection.engine.url), fault, remedy)


def upgrade(connection: Connection) -> None:
    """Apply what is missing, in the transaction that `connection` has open; raises as `check` does."""
    check(connection)
    command.upgrade(configuration(connection), "head")
