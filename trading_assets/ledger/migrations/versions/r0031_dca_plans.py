"""DCA plans: their scheduled times, and their orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "dca_plans",
        sa.Column("plan_id", sa.String(120), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("open_slot", sa.String(100), unique=True),
        sa.Column("side", sa.String(4), nullable=False),
        _text("schedule"),
        _time("anchor_ms"),
        _text("amount"),
        _text("max_deployed"),
        _text("leverage"),
        _text("stop_pct", nullable=True),
        _text("stop_price", nullable=True),
        _text("target_pct", nullable=True),
        _number("safety_orders"),
        _text("safety_step_pct"),
        _text("safety_scale"),
        sa.Column("missed", sa.String(8), nullable=False),
        _number("grace_s"),
        sa.Column("after_target", sa.String(8), nullable=False),
        _time("end_ms", nullable=True),
        sa.Column("state", sa.String(12), nullable=False),
        _text("reason", nullable=True),
        sa.Column("closes", sa.Boolean, nullable=False),
        _time("decided_ms"),
        _number("hands_seen"),
        _time("resumed_ms"),
        _time("differs_since_wall_ms", nullable=True),
        _time("bare_since_wall_ms", nullable=True),
        _text("told", nullable=True),
        _time("read_ms"),
        _text("mark_price", nullable=True),
        _time("created_ms"),
        _time("updated_ms"),
        _time("ended_ms", nullable=True),
    )
    op.create_table(
        "dca_buys",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("plan_id", sa.String(120), primary_key=True),
        sa.Column("due_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        _text("reason", nullable=True),
        sa.Column("order_link_id", sa.String(36)),
        _text("qty", nullable=True),
        _text("value", nullable=True),
        _time("decided_ms"),
    )
    op.create_table(
        "dca_orders",
        sa.Column("order_link_id", sa.String(36), primary_key=True),
        sa.Column("plan_id", sa.String(120), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(8), nullable=False),
        _time("due_ms", nullable=True),
        _number("round"),
        sa.Column("step", sa.Integer),
        _number("attempt"),
        sa.Column("side", sa.String(4), nullable=False),
        _text("qty"),
        _text("price", nullable=True),
        _text("worth"),
        _text("stop_loss", nullable=True),
        _text("take_profit", nullable=True),
        sa.Column("status", sa.String(8), nullable=False),
        _text("order_id", nullable=True),
        _text("filled_qty"),
        _text("cancel", nullable=True),
        _text("reason", nullable=True),
        _time("created_ms"),
        _time("updated_ms"),
        _time("touched_wall_ms"),
    )
    op.create_index("ix_dca_orders_plan", "dca_orders", ["plan_id", "status"])


def downgrade() -> None:
    op.drop_index("ix_dca_orders_plan", "dca_orders")
    op.drop_table("dca_orders")
    op.drop_table("dca_buys")
    op.drop_table("dca_plans")
