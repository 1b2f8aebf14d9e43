"""What each process counts, and how alarms stand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "process_reports",
        sa.Column("process", sa.String(80), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("started_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("gauges", sa.Text, nullable=False),
    )
    op.create_table(
        "alarms",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("since_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_wall_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    # An older version does not know this kind.
    op.execute("UPDATE outbox_messages SET kind = 'system' WHERE kind = 'alarm'")
    op.drop_table("alarms")
    op.drop_table("process_reports")
