"""What real accounts need: closings and fills that grow, legs, unseen and unprotected positions, the transaction log,
announced deliveries.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0008"
down_revision = "0007"

_CLOSINGS = (
    ("order_id", sa.String(64), False),
    ("account", sa.String(32), False),
    ("symbol", sa.String(64), False),
    ("position_side", sa.String(5), False),
    ("reason", sa.String(16), False),
    ("qty", sa.Text, False),
    ("entry_price", sa.Text, False),
    ("exit_price", sa.Text, False),
    ("pnl", sa.Text, False),
    ("fees", sa.Text, False),
    ("signal_id", sa.Text, True),
    ("closed_ms", sa.BigInteger, False),
)
_FILLS = (
    ("exec_id", sa.String(64), False),
    ("account", sa.String(32), False),
    ("symbol", sa.String(64), False),
    ("order_id", sa.Text, False),
    ("order_link_id", sa.Text, False),
    ("side", sa.String(4), False),
    ("exec_type", sa.String(24), False),
    ("kind", sa.String(12), False),
    ("price", sa.Text, False),
    ("qty", sa.Text, False),
    ("value", sa.Text, False),
    ("fee", sa.Text, False),
    ("time_ms", sa.BigInteger, False),
)
_POSITIONS = (
    ("account", sa.String(32), False),
    ("symbol", sa.String(64), False),
    ("side", sa.String(4), False),
    ("size", sa.Text, False),
    ("entry_price", sa.Text, False),
    ("mark_price", sa.Text, False),
    ("leverage", sa.Text, False),
    ("unrealised_pnl", sa.Text, False),
    ("liquidation_price", sa.Text, True),
    ("stop_loss", sa.Text, True),
    ("take_profit", sa.Text, True),
    ("opened_ms", sa.BigInteger, False),
    ("updated_ms", sa.BigInteger, False),
)
_Columns = tuple[tuple[str, Any, bool], ...]


def upgrade() -> None:
    allow_changes("closings", "fills", "equity")
    op.drop_index("ix_closings_account_time", "closings")
    _remake("closings", _CLOSINGS, sa.Column("closing_id", sa.Integer, primary_key=True, autoincrement=True), ())
    op.create_index("ix_closings_account_time", "closings", ["account", "closed_ms"])
    op.create_index("ix_closings_order", "closings", ["order_id"])
    op.drop_index("ix_fills_account_time", "fills")
    revision_column = sa.Column("revision", sa.Integer, nullable=False, server_default="0")
    _remake("fills", _FILLS, revision_column, ("exec_id", "revision"))
    op.create_index("ix_fills_account_time", "fills", ["account", "time_ms"])
    leg = sa.Column("position_idx", sa.Integer, nullable=False, server_default="0")
    _remake("positions", _POSITIONS, leg, ("account", "symbol", "position_idx"))
    op.add_column("equity", sa.Column("transferred", sa.Text, nullable=False, server_default="0"))
    op.add_column("order_intents", sa.Column("unseen_since_ms", sa.BigInteger))
    op.add_column("order_intents", sa.Column("unprotected_since_ms", sa.BigInteger))
    op.create_table(
        "account_transactions",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("transaction_id", sa.String(96), primary_key=True),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("word", sa.String(64), nullable=False),
        sa.Column("coin", sa.String(16), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("balance", sa.Text, nullable=False),
        sa.Column("fee", sa.Text, nullable=False),
        sa.Column("funding", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_account_transactions_time", "account_transactions", ["account", "time_ms"])
    op.create_table(
        "delivery_announcements",
        sa.Column("venue", sa.String(16), primary_key=True),
        sa.Column("symbol", sa.String(64), primary_key=True),
        sa.Column("delivery_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
    )
    forbid_changes("closings", "fills", "equity", "account_transactions")


def downgrade() -> None:
    allow_changes("closings", "fills", "equity", "account_transactions")
    op.drop_table("delivery_announcements")
    op.drop_index("ix_account_transactions_time", "account_transactions")
    op.drop_table("account_transactions")
    op.drop_column("order_intents", "unprotected_since_ms")
    op.drop_column("order_intents", "unseen_since_ms")
    op.drop_column("equity", "transferred")
    # What an earlier program cannot hold is left out: later states of a row, and the second leg of a symbol.
    _remake(
        "positions", _POSITIONS, None, ("account", "symbol"), "position_idx in (0, 1)", unique=("account", "symbol")
    )
    op.drop_index("ix_fills_account_time", "fills")
    _remake("fills", _FILLS, None, ("exec_id",), "revision = 0")
    op.create_index("ix_fills_account_time", "fills", ["account", "time_ms"])
    op.drop_index("ix_closings_order", "closings")
    op.drop_index("ix_closings_account_time", "closings")
    first = "closing_id in (select min(closing_id) from closings group by order_id)"
    _remake("closings", _CLOSINGS, None, ("order_id",), first)
    op.create_index("ix_closings_account_time", "closings", ["account", "closed_ms"])
    forbid_changes("closings", "fills", "equity")


def _remake(
    name: str,
    columns: _Columns,
    added: sa.Column[int] | None,
    keys: tuple[str, ...],
    where: str | None = None,
    unique: tuple[str, ...] = (),
) -> None:
    """Make a table anew with another primary key, and its rows in it: neither database changes a key in place."""
    made = [sa.Column(column, kind, nullable=nullable) for column, kind, nullable in columns]
    extra = [added] if added is not None else []
    constraints = (
        [sa.PrimaryKeyConstraint(*keys, name=f"{name}_{'r0008' if added is not None else 'r0007'}_pkey")]
        if keys
        else []
    )
    op.create_table(f"{name}_new", *extra, *made, *constraints)
    names = ", ".join(column for column, _, _ in columns)
    order = " ORDER BY closed_ms, order_id" if name == "closings" and where is None else ""
    condition = f" WHERE {where}" if where else ""
    if unique:
        older = f"{_same(name, unique)} AND other.position_idx < {name}.position_idx"
        condition += f" AND NOT EXISTS (SELECT 1 FROM {name} AS other WHERE {older})"
    op.execute(f"INSERT INTO {name}_new ({names}) SELECT {names} FROM {name}{condition}{order}")
    op.drop_table(name)
    op.rename_table(f"{name}_new", name)


def _same(name: str, columns: tuple[str, ...]) -> str:
    return " AND ".join(f"other.{column} = {name}.{column}" for column in columns)
