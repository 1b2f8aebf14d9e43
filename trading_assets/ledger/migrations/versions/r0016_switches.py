"""A switch for each account: what may trade is no longer Dagster's sensor state alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "trading_switches",
        sa.Column("switch_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("state", sa.String(3), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_trading_switches_account", "trading_switches", ["account", "switch_id"])
    forbid_changes("trading_switches")


def downgrade() -> None:
    allow_changes("trading_switches")
    op.drop_table("trading_switches")
