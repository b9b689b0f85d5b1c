"""Leases: who may do what only one may do at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    held = sa.text("holder IS NOT NULL")
    op.create_index("ix_leases_held", "leases", ["name"], sqlite_where=held, postgresql_where=held)


def downgrade() -> None:
    op.drop_table("leases")
