"""The ledger as it was before it had migrations. One that an older version made gets what it lacks of it.

What old rows would hold in an added column is not known: NULL where that is allowed, else 0 or an empty text, which no
check takes for a result. Running their hours again replaces them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ORDER_EVENTS_BY_LINK = "ix_order_events_order_link_id"


def upgrade() -> None:
    _table(
        "market_scan",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("scan_id", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("price", sa.Double, nullable=False),
        sa.Column("volume_24h", sa.Double, nullable=False),
        sa.Column("price_change_24h", sa.Double, nullable=False),
        sa.Column("volatility_24h", sa.Double, nullable=False),
        sa.Column("size_error_pct", sa.Double, nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "candle_coverage",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timeframe", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("bars", sa.BigInteger, nullable=False),
        sa.Column("expected_bars", sa.BigInteger, nullable=False),
        sa.Column("missing_bars", sa.BigInteger, nullable=False),
        sa.Column("coverage_pct", sa.Double, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
    _table(
        "funding_coverage",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("payments", sa.BigInteger, nullable=False),
        sa.Column("last_rate", sa.Double),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
    _table(
        "backtest_results",
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
        sa.Column("configurations", sa.BigInteger, nullable=False),
        sa.Column("configurations_traded", sa.BigInteger, nullable=False),
        sa.Column("sharpe_mean", sa.Double, nullable=False),
        sa.Column("sharpe_spread", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
    )
    _table(
        "strategy_selections",
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
        sa.Column("deflated_sharpe", sa.Double, nullable=False),
        sa.Column("p_value", sa.Double),
        sa.Column("out_of_sample_trades", sa.BigInteger, nullable=False),
        sa.Column("out_of_sample_pnl", sa.Double, nullable=False),
    )
    _table(
        "entry_signals",
        sa.Column("signal_id", sa.Text, primary_key=True),
        sa.Column("hour_ms", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("signal_timestamp_ms", sa.BigInteger, nullable=False),
        sa.Column("ttl_ms", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("position_type", sa.Text, nullable=False),
        sa.Column("entry_price", sa.Double, nullable=False),
        sa.Column("stop_loss", sa.Double, nullable=False),
        sa.Column("take_profit", sa.Double, nullable=False),
        sa.Column("position_size", sa.Double, nullable=False),
        sa.Column("leverage", sa.Double, nullable=False),
        sa.Column("rsi", sa.Double),
        sa.Column("bb_position", sa.Double),
        sa.Column("btc_trend", sa.Text),
        sa.Column("funding_rate", sa.Double),
        sa.Column("risk_reward_ratio", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("order_link_id", sa.Text),
        sa.Column("order_id", sa.Text),
        sa.Column("executed_at_ms", sa.Double),
        sa.Column("executed_price", sa.Double),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "strategies",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("pairs", sa.Text, nullable=False),
        sa.Column("timeframes", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
    )
    _table(
        "order_intents",
        sa.Column("order_link_id", sa.String(36), primary_key=True),
        sa.Column("signal_id", sa.Text, unique=True, nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("qty", sa.Text, nullable=False),
        sa.Column("stop_loss", sa.Text, nullable=False),
        sa.Column("take_profit", sa.Text, nullable=False),
        sa.Column("leverage", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("open_slot", sa.String(100), unique=True),
        sa.Column("order_id", sa.Text),
        sa.Column("filled_qty", sa.Text),
        sa.Column("average_price", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("touched_wall_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "order_events",
        sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("order_link_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "fills",
        sa.Column("exec_id", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("order_link_id", sa.Text, nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("exec_type", sa.String(24), nullable=False),
        sa.Column("price", sa.Text, nullable=False),
        sa.Column("qty", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("fee", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "positions",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("symbol", sa.String(64), primary_key=True),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("size", sa.Text, nullable=False),
        sa.Column("entry_price", sa.Text, nullable=False),
        sa.Column("mark_price", sa.Text, nullable=False),
        sa.Column("leverage", sa.Text, nullable=False),
        sa.Column("unrealised_pnl", sa.Text, nullable=False),
        sa.Column("liquidation_price", sa.Text),
        sa.Column("stop_loss", sa.Text),
        sa.Column("take_profit", sa.Text),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "closings",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("position_side", sa.String(5), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("qty", sa.Text, nullable=False),
        sa.Column("entry_price", sa.Text, nullable=False),
        sa.Column("exit_price", sa.Text, nullable=False),
        sa.Column("pnl", sa.Text, nullable=False),
        sa.Column("fees", sa.Text, nullable=False),
        sa.Column("signal_id", sa.Text),
        sa.Column("closed_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "equity",
        sa.Column("equity_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("equity", sa.Text, nullable=False),
        sa.Column("wallet_balance", sa.Text, nullable=False),
        sa.Column("available", sa.Text, nullable=False),
        sa.Column("unrealised_pnl", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "reconciliations",
        sa.Column("reconciliation_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("new_fills", sa.Integer, nullable=False),
        sa.Column("new_closings", sa.Integer, nullable=False),
        sa.Column("open_positions", sa.Integer, nullable=False),
        sa.Column("differences", sa.Integer, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
    )
    _table(
        "risk_events",
        sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index(_ORDER_EVENTS_BY_LINK, "order_events", ["order_link_id"], if_not_exists=True)


def downgrade() -> None:
    """Everything goes: before this revision there is no ledger."""
    for name in (
        "market_scan",
        "candle_coverage",
        "funding_coverage",
        "backtest_results",
        "strategy_selections",
        "entry_signals",
        "strategies",
        "order_intents",
        "order_events",
        "fills",
        "positions",
        "closings",
        "equity",
        "reconciliations",
        "risk_events",
    ):
        op.drop_table(name)


def _table(name: str, *columns: sa.Column[Any]) -> None:
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *columns)
        return
    held = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(name)}
    for column in columns:
        if column.name not in held:
            empty = "" if isinstance(column.type, sa.Text) else "0"
            column.server_default = None if column.nullable else sa.DefaultClause(empty)
            op.add_column(name, column)
