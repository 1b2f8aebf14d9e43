"""Exits besides stop and target: what a signal declares, and what was decided for its position."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("entry_signals", sa.Column("exit_plan", sa.Text))
    op.create_table(
        "exit_decisions",
        sa.Column("order_link_id", sa.String(36), primary_key=True),
        sa.Column("bar_close_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("close", sa.Double, nullable=False),
        sa.Column("stop_loss", sa.Text, nullable=False),
        sa.Column("take_profit", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("exit_decisions")
    op.drop_column("entry_signals", "exit_plan")
