"""Registered models, what commands wish for of them, and versions of ensembles that are of no experiment."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ENSEMBLES = sa.table("ensembles", sa.column("experiment"))
DEPLOYED = sa.text("state = 'deployed'")


def upgrade() -> None:
    _experiment(nullable=True)
    op.create_table(
        "models",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("feature_names", sa.JSON(), nullable=False),
        sa.Column("tickers", sa.JSON(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("target_transform", sa.String(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("trained_through", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "model_wishes",
        sa.Column("command_id", sa.String(), nullable=False),
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("wished_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_model_wishes")),
    )
    op.create_index(op.f("ix_model_wishes_ensemble"), "model_wishes", ["ensemble"])


def downgrade() -> None:
    op.drop_table("model_wishes")
    op.drop_table("models")
    op.execute(sa.delete(ENSEMBLES).where(ENSEMBLES.c.experiment.is_(None)))
    _experiment(nullable=False)


def _experiment(*, nullable: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("ensembles", "experiment", existing_type=sa.String(), nullable=nullable)
        return
    # SQLite changes no column: the rows go to a new table.
    for index in ("uq_ensembles_deployed", "ix_ensembles_state", "ix_ensembles_experiment"):
        op.drop_index(index, "ensembles")
    op.rename_table("ensembles", "ensembles_before")
    _create(nullable=nullable)
    op.execute("INSERT INTO ensembles SELECT * FROM ensembles_before")
    op.drop_table("ensembles_before")


def _create(*, nullable: bool) -> None:
    op.create_table(
        "ensembles",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String(), nullable=nullable),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("tickers", sa.JSON(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deployed_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("command_id", sa.String()),
        sa.CheckConstraint("version >= 1", name=op.f("ck_ensembles_version")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_ensembles_experiment")),
        sa.PrimaryKeyConstraint("ensemble", "version", name=op.f("pk_ensembles")),
    )
    op.create_index(op.f("ix_ensembles_experiment"), "ensembles", ["experiment"])
    op.create_index(op.f("ix_ensembles_state"), "ensembles", ["state"])
    op.create_index("uq_ensembles_deployed", "ensembles", ["ensemble"], unique=True, sqlite_where=DEPLOYED)
