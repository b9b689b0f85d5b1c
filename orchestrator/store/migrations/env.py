"""Alembic's entry: it migrates over the connection, and inside the transaction, that the caller has opened."""

from alembic import context

from orchestrator.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
