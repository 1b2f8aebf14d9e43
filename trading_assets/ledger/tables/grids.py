"""Tables of grids: their bounds, levels and orders."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import DecimalText, account_column, metadata, symbol_column, time_column

grids = sa.Table(
    "grids",
    metadata,
    sa.Column("grid_id", sa.String(120), primary_key=True, comment="account:symbol:number"),
    account_column(),
    symbol_column(),
    sa.Column(
        "open_slot", sa.String(100), unique=True, comment="account:symbol until it has ended: it owns the symbol alone"
    ),
    sa.Column("kind", sa.String(8), nullable=False, comment="long, short or neutral"),
    sa.Column("spacing", sa.String(12), nullable=False, comment="arithmetic or geometric"),
    sa.Column("low", DecimalText, nullable=False, comment="lowest price"),
    sa.Column("high", DecimalText, nullable=False, comment="highest price"),
    sa.Column("levels", sa.Integer, nullable=False, comment="number of levels"),
    sa.Column("capital", DecimalText, nullable=False, comment="margin that all levels together may take, USD"),
    sa.Column("leverage", DecimalText, nullable=False, comment="of the symbol"),
    sa.Column("stop_low", DecimalText, comment="what is long is closed here; none: it is never long"),
    sa.Column("stop_high", DecimalText, comment="what is short is closed here; none: it is never short"),
    sa.Column("out_of_range", sa.String(12), nullable=False, comment="wait, stop or recentre"),
    sa.Column("state", sa.String(12), nullable=False, comment="running, paused, blocked, moving, stopping or ended"),
    sa.Column("reason", sa.Text, comment="why it is in this state"),
    sa.Column("closes", sa.Boolean, nullable=False, comment="whether its end closes the inventory"),
    sa.Column("wanted", sa.Text, comment="JSON: the plan that it moves to"),
    sa.Column("generation", sa.Integer, nullable=False, comment="grows with each new set of levels"),
    sa.Column("worst_value", DecimalText, nullable=False, comment="of the position with the worse side open, USD"),
    sa.Column("profit_before", DecimalText, nullable=False, comment="grid profit of earlier generations, USD"),
    sa.Column("differs_since_wall_ms", sa.BigInteger, comment="position and fills do not agree since, local clock"),
    sa.Column("told", sa.Text, comment="what a person was told of it last"),
    sa.Column("read_ms", sa.BigInteger, nullable=False, comment="executions were read up to here, UTC ms"),
    sa.Column("mark_price", DecimalText, comment="of the last pass"),
    time_column("created_ms", "start"),
    time_column("updated_ms", "last change"),
    sa.Column("ended_ms", sa.BigInteger, comment="its end, UTC ms"),
    sa.Column(
        "evidence", sa.Text, comment="JSON: the row of grid_selections that it began with; none: a person's own plan"
    ),
    comment="Grids: bounds, capital, stops, and how far they have got.",
)


grid_levels = sa.Table(
    "grid_levels",
    metadata,
    account_column(primary_key=True),
    sa.Column("symbol", sa.String(64), primary_key=True, comment="symbol in the words of the venue"),
    sa.Column("level_index", sa.Integer, primary_key=True, autoincrement=False, comment="0 is the lowest"),
    sa.Column("grid_id", sa.String(120), nullable=False, index=True, comment="the grid"),
    sa.Column("generation", sa.Integer, nullable=False, comment="of the grid"),
    sa.Column("low", DecimalText, nullable=False, comment="lower price, on the tick"),
    sa.Column("high", DecimalText, nullable=False, comment="higher price, on the tick"),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy: buys low, sells high; Sell: sells high first"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins"),
    sa.Column("takes_first", sa.Boolean, nullable=False, comment="its first order may take liquidity"),
    sa.Column("carried_qty", DecimalText, nullable=False, comment="inventory of the generation before, in coins"),
    sa.Column("carried_value", DecimalText, nullable=False, comment="at its entry, USDT"),
    sa.Column("carried_fees", DecimalText, nullable=False, comment="paid for it, USDT"),
    sa.Column("round", sa.Integer, nullable=False, comment="number of its orders so far"),
    sa.Column(
        "status", sa.String(8), nullable=False, comment="vacant, opening, part, held, closing or blocked, as seen last"
    ),
    sa.Column("held", DecimalText, nullable=False, comment="what it holds, in coins, as seen last"),
    sa.Column("profit", DecimalText, nullable=False, comment="of its matched pairs, less fees, USD, as seen last"),
    sa.Column("round_trips", sa.Integer, nullable=False, comment="as seen last"),
    sa.Column("order_link_id", sa.String(36), comment="of its order that works; none: there is none"),
    sa.Column("tries", sa.Integer, nullable=False, comment="orders in a row that could not rest"),
    sa.Column("retry_ms", sa.BigInteger, comment="nothing is placed before, UTC ms"),
    sa.Column("blocked", sa.Text, comment="why nothing is placed until a person resumes it"),
    comment="Levels of each symbol's newest grid: one row an index.",
)


grid_orders = sa.Table(
    "grid_orders",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="ours; of an exit by the venue its order id"),
    sa.Column("grid_id", sa.String(120), nullable=False, comment="the grid"),
    account_column(),
    symbol_column(),
    sa.Column("generation", sa.Integer, nullable=False, comment="of the grid"),
    sa.Column("level_index", sa.Integer, comment="of its level; none where it belongs to none"),
    sa.Column("purpose", sa.String(8), nullable=False, comment="open, close, guard, flatten, or exit: by the venue"),
    sa.Column("round", sa.Integer, nullable=False, comment="makes the id of the level's next order another one"),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins"),
    sa.Column("price", DecimalText, comment="none: at the market"),
    sa.Column("trigger_price", DecimalText, comment="of a guard"),
    sa.Column("status", sa.String(8), nullable=False, comment="intent, unknown, resting or ended"),
    sa.Column("order_id", sa.Text, comment="the exchange's id, once it is known"),
    sa.Column("filled_qty", DecimalText, nullable=False, comment="as the order was seen last, in coins"),
    sa.Column("cancel", sa.Text, comment="why it is to be cancelled; none: it is not"),
    sa.Column("reason", sa.Text, comment="why it ended as it did"),
    time_column("created_ms", "reservation"),
    time_column("updated_ms", "last change"),
    sa.Column("touched_wall_ms", sa.BigInteger, nullable=False, comment="local clock of the last change, UTC ms"),
    sa.Index("ix_grid_orders_grid", "grid_id", "status"),
    comment="Orders of grids, each written before it is sent. What they have filled is in `fills`.",
)
