"""Grids: their levels, and the orders of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _time(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    op.create_table(
        "grids",
        sa.Column("grid_id", sa.String(120), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("open_slot", sa.String(100), unique=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("spacing", sa.String(12), nullable=False),
        _text("low"),
        _text("high"),
        _number("levels"),
        _text("capital"),
        _text("leverage"),
        sa.Column("stop_low", sa.Text),
        sa.Column("stop_high", sa.Text),
        sa.Column("out_of_range", sa.String(12), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("closes", sa.Boolean, nullable=False),
        sa.Column("wanted", sa.Text),
        _number("generation"),
        _text("worst_value"),
        _text("profit_before"),
        sa.Column("differs_since_wall_ms", sa.BigInteger),
        sa.Column("told", sa.Text),
        _time("read_ms"),
        sa.Column("mark_price", sa.Text),
        _time("created_ms"),
        _time("updated_ms"),
        sa.Column("ended_ms", sa.BigInteger),
    )
    op.create_table(
        "grid_levels",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("symbol", sa.String(64), primary_key=True),
        sa.Column("level_index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("grid_id", sa.String(120), nullable=False),
        _number("generation"),
        _text("low"),
        _text("high"),
        sa.Column("side", sa.String(4), nullable=False),
        _text("qty"),
        sa.Column("takes_first", sa.Boolean, nullable=False),
        _text("carried_qty"),
        _text("carried_value"),
        _text("carried_fees"),
        _number("round"),
        sa.Column("status", sa.String(8), nullable=False),
        _text("held"),
        _text("profit"),
        _number("round_trips"),
        sa.Column("order_link_id", sa.String(36)),
        _number("tries"),
        sa.Column("retry_ms", sa.BigInteger),
        sa.Column("blocked", sa.Text),
    )
    op.create_index("ix_grid_levels_grid_id", "grid_levels", ["grid_id"])
    op.create_table(
        "grid_orders",
        sa.Column("order_link_id", sa.String(36), primary_key=True),
        sa.Column("grid_id", sa.String(120), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        _number("generation"),
        sa.Column("level_index", sa.Integer),
        sa.Column("purpose", sa.String(8), nullable=False),
        _number("round"),
        sa.Column("side", sa.String(4), nullable=False),
        _text("qty"),
        sa.Column("price", sa.Text),
        sa.Column("trigger_price", sa.Text),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("order_id", sa.Text),
        _text("filled_qty"),
        sa.Column("cancel", sa.Text),
        sa.Column("reason", sa.Text),
        _time("created_ms"),
        _time("updated_ms"),
        _time("touched_wall_ms"),
    )
    op.create_index("ix_grid_orders_grid", "grid_orders", ["grid_id", "status"])


def downgrade() -> None:
    op.drop_index("ix_grid_orders_grid", "grid_orders")
    op.drop_table("grid_orders")
    op.drop_index("ix_grid_levels_grid_id", "grid_levels")
    op.drop_table("grid_levels")
    op.drop_table("grids")
