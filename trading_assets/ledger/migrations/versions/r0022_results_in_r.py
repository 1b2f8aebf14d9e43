"""Results of a trade in multiples of its risk and in basis points. Rows that were there have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("backtest_results", sa.Column("mean_r", sa.Double))
    for name in ("mean_r", "mean_bps"):
        op.add_column("strategy_selections", sa.Column(name, sa.Double))


def downgrade() -> None:
    for name in ("mean_bps", "mean_r"):
        op.drop_column("strategy_selections", name)
    op.drop_column("backtest_results", "mean_r")
