"""Ensembles by command: what is wished for of searches that are over, and which command wants a version."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("ensembles", sa.Column("command_id", sa.String()))
    op.create_table(
        "wishes",
        sa.Column("command_id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("deploy", sa.JSON(), nullable=False),
        sa.Column("wished_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_wishes_experiment")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_wishes")),
    )
    op.create_index(op.f("ix_wishes_ensemble"), "wishes", ["ensemble"])
    op.create_index(op.f("ix_wishes_experiment"), "wishes", ["experiment"])


def downgrade() -> None:
    op.drop_table("wishes")
    op.drop_column("ensembles", "command_id")
