"""What following the ensembles' signals has earned, and how far they were read for it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "performance",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("account", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("ensemble", "mode", name=op.f("pk_performance")),
    )
    op.create_table(
        "performance_read",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_performance_read")),
    )


def downgrade() -> None:
    op.drop_table("performance_read")
    op.drop_table("performance")
