"""Grids that research has tried and selected, and what a grid was started from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_table(
        "grid_results",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timeframe", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("strategy", sa.Text, primary_key=True),
        sa.Column("parameters", sa.Text, primary_key=True),
        sa.Column("scan_id", sa.Text, nullable=False),
        sa.Column("bars", sa.BigInteger, nullable=False),
        sa.Column("total_trades", sa.BigInteger, nullable=False),
        sa.Column("win_rate", sa.Double, nullable=False),
        sa.Column("profit_factor", sa.Double, nullable=False),
        sa.Column("total_return", sa.Double, nullable=False),
        sa.Column("max_drawdown", sa.Double, nullable=False),
        sa.Column("sharpe_ratio", sa.Double, nullable=False),
        sa.Column("total_pnl", sa.Double, nullable=False),
        sa.Column("confidence_avg", sa.Double, nullable=False),
        sa.Column("fees_paid", sa.Double, nullable=False),
        sa.Column("funding_paid", sa.Double, nullable=False),
        sa.Column("exposure_pct", sa.Double, nullable=False),
        sa.Column("skewness", sa.Double, nullable=False),
        sa.Column("kurtosis", sa.Double, nullable=False),
        sa.Column("in_sample_trades", sa.BigInteger, nullable=False),
        sa.Column("in_sample_score", sa.Double, nullable=False),
        sa.Column("in_sample_pnl", sa.Double, nullable=False),
        sa.Column("out_of_sample_trades", sa.BigInteger, nullable=False),
        sa.Column("out_of_sample_pnl", sa.Double, nullable=False),
        sa.Column("p_value", sa.Double),
        sa.Column("break_even", sa.Double),
        sa.Column("mean_r", sa.Double),
        sa.Column("configurations", sa.BigInteger, nullable=False),
        sa.Column("configurations_traded", sa.BigInteger, nullable=False),
        sa.Column("sharpe_mean", sa.Double, nullable=False),
        sa.Column("sharpe_spread", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("taker_fee", sa.Double),
        sa.Column("slippage_bps", sa.Double),
        sa.Column("cost_model", sa.Text),
        sa.Column("notional", sa.Double),
        sa.Column("liquidation_distance", sa.Double),
        sa.Column("entry_order", sa.Text),
        sa.Column("entry_offset_pct", sa.Double),
        sa.Column("entry_bars", sa.Double),
        sa.Column("maker_fee", sa.Double),
        sa.Column("entry_deviation_pct", sa.Double),
        sa.Column("held_back_pct", sa.Double),
        sa.Column("settings_version", sa.Double),
    )
    op.create_table(
        "grid_selections",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("scan_id", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("total_trades", sa.BigInteger, nullable=False),
        sa.Column("win_rate", sa.Double, nullable=False),
        sa.Column("profit_factor", sa.Double, nullable=False),
        sa.Column("max_drawdown", sa.Double, nullable=False),
        sa.Column("total_pnl", sa.Double, nullable=False),
        sa.Column("confidence_avg", sa.Double, nullable=False),
        sa.Column("configurations_tried", sa.BigInteger, nullable=False),
        sa.Column("configurations_effective", sa.Double),
        sa.Column("deflated_sharpe", sa.Double),
        sa.Column("p_value", sa.Double),
        sa.Column("p_value_corrected", sa.Double),
        sa.Column("p_value_hour", sa.Double),
        sa.Column("least_trades", sa.Double),
        sa.Column("out_of_sample_trades", sa.BigInteger, nullable=False),
        sa.Column("out_of_sample_pnl", sa.Double, nullable=False),
        sa.Column("mean_r", sa.Double),
        sa.Column("mean_bps", sa.Double),
        sa.Column("history_pct", sa.Double),
        sa.Column("taker_fee", sa.Double),
        sa.Column("slippage_bps", sa.Double),
        sa.Column("cost_model", sa.Text),
        sa.Column("notional", sa.Double),
        sa.Column("liquidation_distance", sa.Double),
        sa.Column("entry_order", sa.Text),
        sa.Column("entry_offset_pct", sa.Double),
        sa.Column("entry_bars", sa.Double),
        sa.Column("maker_fee", sa.Double),
        sa.Column("entry_deviation_pct", sa.Double),
        sa.Column("settings_version", sa.Double),
    )
    op.add_column("grids", sa.Column("evidence", sa.Text))


def downgrade() -> None:
    op.drop_column("grids", "evidence")
    op.drop_table("grid_selections")
    op.drop_table("grid_results")
