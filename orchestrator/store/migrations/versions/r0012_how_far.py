"""What experiments were last told of themselves: how far the search is, and whom it has selected."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("progress", sa.JSON()))
    op.add_column("experiments", sa.Column("selection", sa.JSON()))


def downgrade() -> None:
    op.drop_column("experiments", "selection")
    op.drop_column("experiments", "progress")
