"""Fingerprints: where results are known; which steps were answered from them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("trial_steps", sa.Column("reasons", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("trial_steps", sa.Column("recorded_by", sa.String()))
    op.create_table(
        "fingerprints",
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("trial", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_fingerprints")),
        sa.ForeignKeyConstraint(
            ["experiment", "trial", "step"],
            ["trial_steps.experiment", "trial_steps.trial", "trial_steps.step"],
            name=op.f("fk_fingerprints_experiment"),
        ),
    )
    op.create_index(op.f("ix_fingerprints_experiment"), "fingerprints", ["experiment"])


def downgrade() -> None:
    op.drop_table("fingerprints")
    op.drop_column("trial_steps", "recorded_by")
    op.drop_column("trial_steps", "reasons")
