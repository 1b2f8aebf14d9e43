"""What keeps schedules and sensors from going on is seen in the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "automation_troubles",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("since_wall_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("automation_troubles")
