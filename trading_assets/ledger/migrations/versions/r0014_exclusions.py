"""A strategy that fails a check is excluded alone; funding has faults as candles have; short histories are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_BY_HOUR = "ix_excluded_strategies_hour"


def upgrade() -> None:
    op.add_column("funding_coverage", sa.Column("fault", sa.Text))
    op.add_column("candle_coverage", sa.Column("history_pct", sa.Double))
    op.add_column("strategy_selections", sa.Column("history_pct", sa.Double))
    op.create_table(
        "excluded_strategies",
        sa.Column("timeframe", sa.String(8), primary_key=True),
        sa.Column("strategy", sa.String(64), primary_key=True),
        sa.Column("check_name", sa.String(64), primary_key=True),
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
    )
    op.create_index(_BY_HOUR, "excluded_strategies", ["hour_ms"])


def downgrade() -> None:
    op.drop_index(_BY_HOUR, "excluded_strategies")
    op.drop_table("excluded_strategies")
    op.drop_column("strategy_selections", "history_pct")
    op.drop_column("candle_coverage", "history_pct")
    op.drop_column("funding_coverage", "fault")
