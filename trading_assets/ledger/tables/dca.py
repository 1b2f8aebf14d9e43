"""Tables of DCA plans: what they are, what became of each scheduled time, and their orders."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import DecimalText, account_column, metadata, symbol_column, time_column

dca_plans = sa.Table(
    "dca_plans",
    metadata,
    sa.Column("plan_id", sa.String(120), primary_key=True, comment="account:symbol:dca:number"),
    account_column(),
    symbol_column(),
    sa.Column(
        "open_slot", sa.String(100), unique=True, comment="account:symbol until it has ended: it owns the symbol alone"
    ),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy: it collects a long position; Sell: a short one"),
    sa.Column("schedule", sa.Text, nullable=False, comment="every 4h, or five fields of cron, UTC"),
    sa.Column("anchor_ms", sa.BigInteger, nullable=False, comment="first time of an interval, UTC ms"),
    sa.Column("amount", DecimalText, nullable=False, comment="value of each scheduled order, USD"),
    sa.Column("max_deployed", DecimalText, nullable=False, comment="value at entry of all that it may hold, USD"),
    sa.Column("leverage", DecimalText, nullable=False, comment="of the symbol"),
    sa.Column("stop_pct", DecimalText, comment="distance of the stop from the average entry, percent"),
    sa.Column("stop_price", DecimalText, comment="a fixed stop in place of that"),
    sa.Column("target_pct", DecimalText, comment="distance of the target from the average entry, percent; none: none"),
    sa.Column("safety_orders", sa.Integer, nullable=False, comment="orders that wait beyond the first entry"),
    sa.Column("safety_step_pct", DecimalText, nullable=False, comment="distance between them, percent of the first"),
    sa.Column("safety_scale", DecimalText, nullable=False, comment="each one's amount by that before it"),
    sa.Column("missed", sa.String(8), nullable=False, comment="skip, or latest: the newest missed time is made up for"),
    sa.Column("grace_s", sa.Integer, nullable=False, comment="so late a scheduled time is still in time, s"),
    sa.Column("after_target", sa.String(8), nullable=False, comment="repeat or end"),
    sa.Column("end_ms", sa.BigInteger, comment="nothing is opened from then on, UTC ms"),
    sa.Column("state", sa.String(12), nullable=False, comment="running, paused, blocked, stopping or ended"),
    sa.Column("reason", sa.Text, comment="why it is in this state"),
    sa.Column("closes", sa.Boolean, nullable=False, comment="whether its end closes the position"),
    sa.Column("decided_ms", sa.BigInteger, nullable=False, comment="every scheduled time up to here has its outcome"),
    sa.Column("hands_seen", sa.Integer, nullable=False, comment="closings by somebody else that were told"),
    sa.Column("resumed_ms", sa.BigInteger, nullable=False, comment="a person has let it go on, UTC ms"),
    sa.Column("differs_since_wall_ms", sa.BigInteger, comment="position and fills do not agree since, local clock"),
    sa.Column("bare_since_wall_ms", sa.BigInteger, comment="its position has no stop since, local clock"),
    sa.Column("told", sa.Text, comment="what a person was told of it last"),
    sa.Column("read_ms", sa.BigInteger, nullable=False, comment="executions were read up to here, UTC ms"),
    sa.Column("mark_price", DecimalText, comment="of the last pass"),
    time_column("created_ms", "start"),
    time_column("updated_ms", "last change"),
    sa.Column("ended_ms", sa.BigInteger, comment="its end, UTC ms"),
    comment="DCA plans: schedule, amounts, stop and target, and how far they have got.",
)


dca_buys = sa.Table(
    "dca_buys",
    metadata,
    account_column(primary_key=True),
    sa.Column("plan_id", sa.String(120), primary_key=True, comment="the plan"),
    sa.Column("due_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="the scheduled time, UTC ms"),
    symbol_column(),
    sa.Column("outcome", sa.String(8), nullable=False, comment="ordered, filled, skipped or refused"),
    sa.Column("reason", sa.Text, comment="why it was skipped or refused"),
    sa.Column("order_link_id", sa.String(36), comment="of its order; none: it was skipped"),
    sa.Column("qty", DecimalText, comment="filled, in coins"),
    sa.Column("value", DecimalText, comment="of that, USDT"),
    time_column("decided_ms", "its decision"),
    comment="Scheduled times of DCA plans: one row each, whatever became of it.",
)


dca_orders = sa.Table(
    "dca_orders",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="ours; of an exit by the venue its order id"),
    sa.Column("plan_id", sa.String(120), nullable=False, comment="the plan"),
    account_column(),
    symbol_column(),
    sa.Column("purpose", sa.String(8), nullable=False, comment="buy, safety, target, flatten, or exit: by the venue"),
    sa.Column("due_ms", sa.BigInteger, comment="of a buy: its scheduled time"),
    sa.Column("round", sa.Integer, nullable=False, comment="how often the plan was flat before"),
    sa.Column("step", sa.Integer, comment="of a safety order: 1 is the nearest"),
    sa.Column("attempt", sa.Integer, nullable=False, comment="makes the id of the next order of its kind another one"),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins"),
    sa.Column("price", DecimalText, comment="none: at the market"),
    sa.Column("worth", DecimalText, nullable=False, comment="what it may come to at most, USD"),
    sa.Column("stop_loss", DecimalText, comment="attached to it"),
    sa.Column("take_profit", DecimalText, comment="attached to it"),
    sa.Column("status", sa.String(8), nullable=False, comment="intent, unsent, unknown, resting or ended"),
    sa.Column("order_id", sa.Text, comment="the exchange's id, once it is known"),
    sa.Column("filled_qty", DecimalText, nullable=False, comment="as the order was seen last, in coins"),
    sa.Column("cancel", sa.Text, comment="why it is to be cancelled; none: it is not"),
    sa.Column("reason", sa.Text, comment="why it ended as it did"),
    time_column("created_ms", "reservation"),
    time_column("updated_ms", "last change"),
    sa.Column("touched_wall_ms", sa.BigInteger, nullable=False, comment="local clock of the last change, UTC ms"),
    sa.Index("ix_dca_orders_plan", "plan_id", "status"),
    comment="Orders of DCA plans, each written before it is sent. What they have filled is in `fills`.",
)
