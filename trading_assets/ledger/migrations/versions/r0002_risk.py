"""The risk guard's states; fills by kind; the peak of equity on each snapshot; history that cannot be changed."""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0002"
down_revision = "0001"

_HISTORY = ("order_events", "fills", "closings", "equity", "reconciliations", "risk_events", "risk_states")

_INDEXES = (
    ("ix_fills_account_time", "fills", ["account", "time_ms"]),
    ("ix_closings_account_time", "closings", ["account", "closed_ms"]),
    ("ix_equity_account", "equity", ["account", "equity_id"]),
    ("ix_reconciliations_account", "reconciliations", ["account", "until_ms"]),
    ("ix_risk_events_account", "risk_events", ["account", "kind", "symbol"]),
    ("ix_risk_states_account", "risk_states", ["account", "state_id"]),
)

_KINDS = {
    "Trade": "trade",
    "Funding": "funding",
    "BustTrade": "liquidation",
    "AdlTrade": "adl",
    "SessionSettlePnL": "settlement",
    "Settle": "settlement",
    "Delivery": "settlement",
}

_fills = sa.table("fills", sa.column("kind"), sa.column("exec_type"))
_equity = sa.table("equity", *(sa.column(name) for name in ("equity_id", "account", "equity", "peak")))


def upgrade() -> None:
    op.create_table(
        "risk_states",
        sa.Column("state_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.add_column("fills", sa.Column("kind", sa.String(12), nullable=False, server_default="other"))
    op.add_column("equity", sa.Column("peak", sa.Text, nullable=False, server_default="0"))
    for name, table, columns in _INDEXES:
        op.create_index(name, table, columns)
    for exec_type, kind in _KINDS.items():
        op.execute(sa.update(_fills).where(_fills.c.exec_type == exec_type).values(kind=kind))
    _fill_peaks()
    forbid_changes(*_HISTORY)


def downgrade() -> None:
    allow_changes(*_HISTORY)
    for name, table, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    op.drop_column("equity", "peak")
    op.drop_column("fills", "kind")
    op.drop_table("risk_states")


def _fill_peaks() -> None:
    connection = op.get_bind()
    peaks: dict[str, Decimal] = {}
    values = []
    for equity_id, account, equity, _ in connection.execute(sa.select(_equity).order_by(_equity.c.equity_id)):
        peaks[account] = max(peaks.get(account, Decimal(equity)), Decimal(equity))
        values.append({"row": equity_id, "value": str(peaks[account])})
    if values:
        statement = sa.update(_equity).where(_equity.c.equity_id == sa.bindparam("row"))
        connection.execute(statement.values(peak=sa.bindparam("value")), values)
