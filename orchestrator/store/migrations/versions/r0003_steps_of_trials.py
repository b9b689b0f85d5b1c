"""Steps of trials: how far each was trained and its score then, and whom it was cloned from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("trials", sa.Column("parent", sa.String()))
    op.add_column("trials", sa.Column("inherited", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "trial_steps",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("trial", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("budget", sa.Integer()),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("eligible", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "trial", "step", name=op.f("pk_trial_steps")),
        sa.ForeignKeyConstraint(
            ["experiment", "trial"],
            ["trials.experiment", "trials.trial"],
            name=op.f("fk_trial_steps_experiment"),
        ),
    )


def downgrade() -> None:
    op.drop_table("trial_steps")
    op.drop_column("trials", "inherited")
    op.drop_column("trials", "parent")
