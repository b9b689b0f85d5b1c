"""Policies, what they have triggered, what their detectors know, and challengers beside the version that serves."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_shadowing = sa.text("state = 'shadowing'")


def upgrade() -> None:
    op.add_column("ensembles", sa.Column("canary", sa.JSON(), nullable=False, server_default="[]"))
    op.create_index(
        "uq_ensembles_shadowing",
        "ensembles",
        ["ensemble"],
        unique=True,
        sqlite_where=_shadowing,
        postgresql_where=_shadowing,
    )
    op.create_table(
        "books",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("ensemble", "version", name=op.f("pk_books")),
    )
    op.create_table(
        "policies",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("command_id", sa.String(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ensemble", name=op.f("pk_policies")),
    )
    op.create_table(
        "triggers",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cause", sa.JSON(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("joined", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_triggers")),
    )
    op.create_index(op.f("ix_triggers_ensemble"), "triggers", ["ensemble"])
    op.create_table(
        "watches",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ticker", sa.String(), nullable=False),
        sa.Column("watch", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("ensemble", "version", "ticker", name=op.f("pk_watches")),
    )
    op.create_table(
        "watch_read",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_watch_read")),
    )


def downgrade() -> None:
    for table in ("watch_read", "watches", "triggers", "policies", "books"):
        op.drop_table(table)
    op.drop_index("uq_ensembles_shadowing", "ensembles")
    op.drop_column("ensembles", "canary")
