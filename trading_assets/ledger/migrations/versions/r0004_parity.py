"""When the finder looked, and each day of live held against the backtest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_LOOKS_BY_TIME = "finder_looks_by_time"


def upgrade() -> None:
    op.create_table(
        "finder_looks",
        sa.Column("look_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("hour_ms", sa.BigInteger, nullable=False),
        sa.Column("looked", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index(_LOOKS_BY_TIME, "finder_looks", ["account", "time_ms"])
    op.create_table(
        "live_parity",
        sa.Column("day_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("signal_id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("hour_ms", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("bar_close_ms", sa.BigInteger, nullable=False),
        sa.Column("position_type", sa.Text, nullable=False),
        sa.Column("expected", sa.BigInteger, nullable=False),
        sa.Column("live", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("explained", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("entry_price", sa.Double),
        sa.Column("live_entry_price", sa.Double),
        sa.Column("slippage_bps", sa.Double),
        sa.Column("exit_reason", sa.Text),
        sa.Column("live_exit_reason", sa.Text),
        sa.Column("exit_price", sa.Double),
        sa.Column("live_exit_price", sa.Double),
        sa.Column("exit_difference_bps", sa.Double),
    )


def downgrade() -> None:
    op.drop_table("live_parity")
    op.drop_index(_LOOKS_BY_TIME, "finder_looks")
    op.drop_table("finder_looks")
