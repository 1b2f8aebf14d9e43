"""What rows were made with: costs of backtests, rules of contracts, deeper history. Rows that were there have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_COSTS = ("taker_fee", "slippage_bps", "notional", "liquidation_distance")


def upgrade() -> None:
    for table in ("backtest_results", "strategy_selections"):
        for name in _COSTS:
            op.add_column(table, sa.Column(name, sa.Double))
        op.add_column(table, sa.Column("cost_model", sa.Text))
    op.add_column("backtest_results", sa.Column("held_back_pct", sa.Double))
    op.add_column("market_scan", sa.Column("contract_rules", sa.Text))
    op.add_column("candle_coverage", sa.Column("deep_faults", sa.Text))


def downgrade() -> None:
    op.drop_column("candle_coverage", "deep_faults")
    op.drop_column("market_scan", "contract_rules")
    op.drop_column("backtest_results", "held_back_pct")
    for table in ("strategy_selections", "backtest_results"):
        for name in ("cost_model", *reversed(_COSTS)):
            op.drop_column(table, name)
