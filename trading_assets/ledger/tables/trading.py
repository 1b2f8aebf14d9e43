"""Tables of orders, fills, positions and the account's money."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import DecimalText, account_column, metadata, symbol_column, time_column

order_intents = sa.Table(
    "order_intents",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="deterministic, sent to the exchange"),
    sa.Column("signal_id", sa.Text, nullable=False, unique=True, comment="the signal it executes"),
    account_column(),
    symbol_column(),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins, on the quantity step"),
    sa.Column("stop_loss", DecimalText, nullable=False, comment="price of the stop as last asked for, on the tick"),
    sa.Column("take_profit", DecimalText, nullable=False, comment="price of the target, likewise"),
    sa.Column("leverage", DecimalText, nullable=False, comment="set for the symbol before the order"),
    sa.Column(
        "status",
        sa.String(16),
        nullable=False,
        comment="intent -> submitted -> (resting ->) confirmed -> closed; rejected, ended, abandoned; unknown until "
        "looked up",
    ),
    sa.Column(
        "open_slot",
        sa.String(100),
        unique=True,
        comment="account:symbol from the intent until its position is closed: at most one a symbol",
    ),
    sa.Column("order_id", sa.Text, comment="the exchange's id, once it is known"),
    sa.Column("filled_qty", DecimalText, comment="in coins, once it is known"),
    sa.Column("average_price", DecimalText, comment="of the fill, USDT"),
    sa.Column("reason", sa.Text, comment="why it ended as it did, or waits"),
    sa.Column("unseen_since_ms", sa.BigInteger, comment="its position is not seen since, and nothing tells its end"),
    sa.Column("unprotected_since_ms", sa.BigInteger, comment="its position is without the stop since, UTC ms"),
    sa.Column("price", DecimalText, comment="of an order that waits, as it was last asked for; none: at the market"),
    sa.Column("post_only", sa.Boolean, comment="whether it may never take liquidity; none: at the market"),
    sa.Column("until_ms", sa.BigInteger, comment="so long it waits, UTC ms"),
    sa.Column("chase_price", DecimalText, comment="up to here it follows the market at its end; none: it is dropped"),
    sa.Column("request", sa.String(8), comment="amend or cancel: what was asked for and is not seen done yet"),
    sa.Column("requests", sa.Integer, comment="how often it was asked for"),
    sa.Column("request_reason", sa.Text, comment="why"),
    sa.Column("seen_ms", sa.BigInteger, comment="the exchange's time of the newest state that was seen of it, UTC ms"),
    time_column("created_ms", "reservation"),
    time_column("updated_ms", "last change"),
    sa.Column("touched_wall_ms", sa.BigInteger, nullable=False, comment="local clock of the last change, UTC ms"),
    comment="One row an order, written before anything is sent: what it is and how far it has got.",
)


order_events = sa.Table(
    "order_events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("order_link_id", sa.String(36), nullable=False, index=True, comment="the intent"),
    sa.Column("status", sa.String(16), nullable=False, comment="that it had from then on"),
    sa.Column("detail", sa.Text, comment="what led to it"),
    time_column("time_ms", "moment of the change"),
    comment="Every change of an intent's status.",
)


fills = sa.Table(
    "fills",
    metadata,
    sa.Column("exec_id", sa.String(64), primary_key=True, comment="the exchange's id of the execution"),
    sa.Column(
        "revision",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        server_default="0",
        comment="0; a row that the exchange has changed since is followed by the difference, as 1, 2 ...",
    ),
    account_column(),
    symbol_column(),
    sa.Column("order_id", sa.Text, nullable=False, comment="the exchange's id of the order"),
    sa.Column("order_link_id", sa.Text, nullable=False, comment="our id of the order; empty where it was not ours"),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column(
        "exec_type",
        sa.String(24),
        nullable=False,
        comment="the exchange's own word, such as Bybit's Trade or Funding; see kind",
    ),
    sa.Column(
        "kind", sa.String(12), nullable=False, comment="trade, funding, session, liquidation, adl, settlement or other"
    ),
    sa.Column("price", DecimalText, nullable=False, comment="USDT"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins"),
    sa.Column("value", DecimalText, nullable=False, comment="price times quantity, USDT"),
    sa.Column("fee", DecimalText, nullable=False, comment="USDT; of a funding row: positive is paid"),
    time_column("time_ms", "execution"),
    sa.Index("ix_fills_account_time", "account", "time_ms"),
    comment="Every execution the exchange booked: trades, funding, liquidations.",
)


positions = sa.Table(
    "positions",
    metadata,
    sa.Column("account", sa.String(32), primary_key=True, comment="name of the trading account"),
    sa.Column("symbol", sa.String(64), primary_key=True, comment="the exchange's symbol"),
    sa.Column(
        "position_idx",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        server_default="0",
        comment="0 in one-way mode; 1 is the long leg and 2 the short one in hedge mode",
    ),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy is long, Sell is short"),
    sa.Column("size", DecimalText, nullable=False, comment="in coins"),
    sa.Column("entry_price", DecimalText, nullable=False, comment="average, USDT"),
    sa.Column("mark_price", DecimalText, nullable=False, comment="USDT"),
    sa.Column("leverage", DecimalText, nullable=False, comment="of the symbol"),
    sa.Column("unrealised_pnl", DecimalText, nullable=False, comment="at the mark price, USDT"),
    sa.Column("liquidation_price", DecimalText, comment="USDT; none where the exchange gives none"),
    sa.Column("stop_loss", DecimalText, comment="price of the stop at the exchange; none is without one"),
    sa.Column("take_profit", DecimalText, comment="price of the target at the exchange"),
    time_column("opened_ms", "opening"),
    time_column("updated_ms", "the reading of the books it is from"),
    comment="Open positions as the books were read last.",
)


closings = sa.Table(
    "closings",
    metadata,
    sa.Column("closing_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("order_id", sa.String(64), nullable=False, comment="the exchange's id of the closing order"),
    account_column(),
    symbol_column(),
    sa.Column("position_side", sa.String(5), nullable=False, comment="LONG or SHORT: the position that was closed"),
    sa.Column(
        "reason",
        sa.String(16),
        nullable=False,
        comment="stop, target, part, signal, time, roi, liquidation, adl, settlement, session, other",
    ),
    sa.Column("qty", DecimalText, nullable=False, comment="closed, in coins"),
    sa.Column("entry_price", DecimalText, nullable=False, comment="average, USDT"),
    sa.Column("exit_price", DecimalText, nullable=False, comment="average, USDT"),
    sa.Column("pnl", DecimalText, nullable=False, comment="net of fees, without funding, USDT"),
    sa.Column("fees", DecimalText, nullable=False, comment="of the entry's part and the exit, USDT"),
    sa.Column("signal_id", sa.Text, comment="the signal that opened it; none where it was not ours"),
    time_column("closed_ms", "closing"),
    sa.Index("ix_closings_account_time", "account", "closed_ms"),
    sa.Index("ix_closings_order", "order_id"),
    comment="Closed positions with their result. The rows of an order add up to what the exchange tells of it: one for "
    "each of ours and one for what is foreign, and another one for what was added later.",
)


exit_decisions = sa.Table(
    "exit_decisions",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="the intent whose position it is"),
    sa.Column("bar_close_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="of its candle, UTC ms"),
    sa.Column("kind", sa.String(8), primary_key=True, comment="parts, levels, signal, time, roi, stop or target"),
    sa.Column("close", sa.Double, nullable=False, comment="of that candle, USDT"),
    sa.Column("stop_loss", DecimalText, nullable=False, comment="that is to stand from then on, on the tick"),
    sa.Column("take_profit", DecimalText, nullable=False, comment="likewise"),
    sa.Column("detail", sa.Text, nullable=False, comment="in words"),
    sa.Column("state", sa.String(8), nullable=False, comment="open, placed (orders that rest) or done"),
    time_column("time_ms", "moment of the decision"),
    comment="What the exit plan of a position said at the close of a candle, where it said anything.",
)


equity = sa.Table(
    "equity",
    metadata,
    sa.Column("equity_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("equity", DecimalText, nullable=False, comment="balance and open PnL, USD"),
    sa.Column("wallet_balance", DecimalText, nullable=False, comment="without open PnL, USD"),
    sa.Column("available", DecimalText, nullable=False, comment="free for new margin, USD"),
    sa.Column("unrealised_pnl", DecimalText, nullable=False, comment="of all open positions, USD"),
    sa.Column(
        "peak",
        DecimalText,
        nullable=False,
        comment="highest equity since a person last accepted a drawdown, moved by deposits and withdrawals",
    ),
    sa.Column(
        "transferred",
        DecimalText,
        nullable=False,
        server_default="0",
        comment="paid in (above 0) or out since the row before, USD",
    ),
    sa.Column("dollars", DecimalText, comment="balance of the coins that count as a dollar each"),
    sa.Column(
        "unexplained",
        DecimalText,
        nullable=False,
        server_default="0",
        comment="what changed that balance beyond the transaction log, since both are known, USD",
    ),
    sa.Column("unexplained_since_ms", sa.BigInteger, comment="since when there is such a remainder, UTC ms"),
    time_column("time_ms", "moment of the reading"),
    sa.Index("ix_equity_account", "account", "equity_id"),
    comment="The account's balance at each reading of the books.",
)


account_transactions = sa.Table(
    "account_transactions",
    metadata,
    sa.Column("account", sa.String(32), primary_key=True, comment="name of the trading account"),
    sa.Column("transaction_id", sa.String(96), primary_key=True, comment="the exchange's id of the row"),
    sa.Column(
        "kind",
        sa.String(12),
        nullable=False,
        comment="trade, funding, transfer, liquidation, adl, settlement or other",
    ),
    sa.Column("word", sa.String(64), nullable=False, comment="the exchange's own word for the kind"),
    sa.Column("coin", sa.String(16), nullable=False, comment="whose balance it changed"),
    sa.Column("symbol", sa.String(64), nullable=False, comment="the contract; empty where there is none"),
    sa.Column("change", DecimalText, nullable=False, comment="of the balance, in the coin"),
    sa.Column("balance", DecimalText, nullable=False, comment="after it, in the coin"),
    sa.Column("fee", DecimalText, nullable=False, comment="positive is paid"),
    sa.Column("funding", DecimalText, nullable=False, comment="positive is received"),
    sa.Column("order_id", sa.Text, nullable=False, comment="the exchange's id of the order; empty where there is none"),
    time_column("time_ms", "the change"),
    sa.Index("ix_account_transactions_time", "account", "time_ms"),
    comment="The exchange's transaction log: what changed the balances.",
)


delivery_announcements = sa.Table(
    "delivery_announcements",
    metadata,
    sa.Column("venue", sa.String(16), primary_key=True, comment="simulator, demo, testnet, mainnet ..."),
    sa.Column("symbol", sa.String(64), primary_key=True, comment="the exchange's symbol"),
    sa.Column("delivery_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="its end, UTC ms"),
    time_column("seen_ms", "the announcement was first seen"),
    comment="Contracts that end: since when it was known, so that an hour before knows nothing of it.",
)


reconciliations = sa.Table(
    "reconciliations",
    metadata,
    sa.Column("reconciliation_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("new_fills", sa.Integer, nullable=False, comment="fills it added"),
    sa.Column("new_closings", sa.Integer, nullable=False, comment="closings it added"),
    sa.Column("open_positions", sa.Integer, nullable=False, comment="positions the exchange showed"),
    sa.Column("differences", sa.Integer, nullable=False, comment="differences between ledger and exchange it reported"),
    sa.Column("until_ms", sa.BigInteger, nullable=False, comment="books are read up to here, UTC ms"),
    sa.Column(
        "growing_since_ms",
        sa.BigInteger,
        comment="the next reading begins here at the latest: rows of that time may still grow, UTC ms; none: no such",
    ),
    sa.Index("ix_reconciliations_account", "account", "until_ms"),
    comment="Each reading of the exchange's books and what it found.",
)


account_fees = sa.Table(
    "account_fees",
    metadata,
    sa.Column("account", sa.String(32), primary_key=True, comment="name of the trading account in this ledger"),
    sa.Column("taker", sa.Double, nullable=False, comment="fraction of notional"),
    sa.Column("maker", sa.Double, nullable=False, comment="fraction of notional"),
    time_column("time_ms", "moment at which the venue was asked"),
    comment="Fees of an account as the venue told them last: backtests and reports count them, not the setting.",
)
