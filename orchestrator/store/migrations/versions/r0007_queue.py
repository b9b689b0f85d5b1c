"""The queue: until when an experiment is wanted, and the place in the queue that it was told."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column("experiments", sa.Column("position", sa.Integer()))


def downgrade() -> None:
    op.drop_column("experiments", "position")
    op.drop_column("experiments", "expires_at")
