"""Every SQL table of the system of record. The hourly ones are derived from their pandera models."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.schemas import ENTRY_SIGNALS, HOURLY_TABLES, LIVE_PARITY, Table

metadata = sa.MetaData()


def _column_type(dtype: object) -> sa.BigInteger | sa.Double[float] | sa.Text:
    if pd.api.types.is_integer_dtype(dtype):  # type: ignore[arg-type]
        return sa.BigInteger()
    if pd.api.types.is_float_dtype(dtype):  # type: ignore[arg-type]
        return sa.Double()
    return sa.Text()


def _derive(table: Table) -> sa.Table:
    schema = table.model.to_schema()
    dtypes = table.empty().dtypes
    return sa.Table(
        table.name,
        metadata,
        *(
            sa.Column(
                name,
                _column_type(dtypes[name]),
                primary_key=name in table.key,
                autoincrement=False,
                nullable=bool(column.nullable),
                comment=column.description,
            )
            for name, column in schema.columns.items()
        ),
    )


_DERIVED = {table.name: _derive(table) for table in (*HOURLY_TABLES, ENTRY_SIGNALS, LIVE_PARITY)}


def sql_table(table: Table) -> sa.Table:
    """The SQL table of a pipeline table."""
    return _DERIVED[table.name]


entry_signals = sql_table(ENTRY_SIGNALS)

strategies = sa.Table(
    "strategies",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True, comment="name of the strategy class"),
    sa.Column("is_active", sa.Boolean, nullable=False, comment="backtested, and traded where it is selected"),
    sa.Column("exchange", sa.String(32), nullable=False, comment="bybit"),
    sa.Column("pairs", sa.Text, nullable=False, comment="JSON list of symbols; empty means all"),
    sa.Column("timeframes", sa.Text, nullable=False, comment="JSON list; empty means all eight"),
    sa.Column(
        "parameters",
        sa.Text,
        nullable=False,
        comment="JSON object: values that every set has; what is absent is varied by the grid, else at its default",
    ),
    sa.Column(
        "grid",
        sa.Text,
        comment="how far parameters are varied: described, declared, or JSON blocks of values; none: as the setting "
        "says, and not at all where parameters are given",
    ),
    comment="Registry of strategies: which are tried, on what, with which parameters.",
)


class DecimalText(sa.TypeDecorator[Decimal]):
    """A `Decimal` kept as its text: exact on SQLite, which has no decimal type, and on PostgreSQL alike."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else f"{value:f}"

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def _symbol() -> sa.Column[str]:
    return sa.Column("symbol", sa.String(64), nullable=False, comment="symbol in the words of the venue")


def _account(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "account", sa.String(32), primary_key=primary_key, nullable=False, comment="name of the trading account"
    )


def _time(name: str, what: str) -> sa.Column[int]:
    """A moment of the exchange's clock."""
    return sa.Column(name, sa.BigInteger, nullable=False, comment=f"{what}, UTC ms")


order_intents = sa.Table(
    "order_intents",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="deterministic, sent to the exchange"),
    sa.Column("signal_id", sa.Text, nullable=False, unique=True, comment="the signal it executes"),
    _account(),
    _symbol(),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins, on the quantity step"),
    sa.Column("stop_loss", DecimalText, nullable=False, comment="price of the attached stop, on the tick"),
    sa.Column("take_profit", DecimalText, nullable=False, comment="price of the attached target, on the tick"),
    sa.Column("leverage", DecimalText, nullable=False, comment="set for the symbol before the order"),
    sa.Column(
        "status",
        sa.String(16),
        nullable=False,
        comment="intent -> submitted -> confirmed -> closed; rejected, abandoned; unknown until looked up",
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
    _time("created_ms", "reservation"),
    _time("updated_ms", "last change"),
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
    _time("time_ms", "moment of the change"),
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
    _account(),
    _symbol(),
    sa.Column("order_id", sa.Text, nullable=False, comment="the exchange's id of the order"),
    sa.Column("order_link_id", sa.Text, nullable=False, comment="our id of the order; empty where it was not ours"),
    sa.Column("side", sa.String(4), nullable=False, comment="Buy or Sell"),
    sa.Column(
        "exec_type",
        sa.String(24),
        nullable=False,
        comment="the exchange's own word, such as Bybit's Trade or Funding; see kind",
    ),
    sa.Column("kind", sa.String(12), nullable=False, comment="trade, funding, liquidation, adl, settlement or other"),
    sa.Column("price", DecimalText, nullable=False, comment="USDT"),
    sa.Column("qty", DecimalText, nullable=False, comment="in coins"),
    sa.Column("value", DecimalText, nullable=False, comment="price times quantity, USDT"),
    sa.Column("fee", DecimalText, nullable=False, comment="USDT; of a funding row: positive is paid"),
    _time("time_ms", "execution"),
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
    _time("opened_ms", "opening"),
    _time("updated_ms", "the reading of the books it is from"),
    comment="Open positions as the books were read last.",
)

closings = sa.Table(
    "closings",
    metadata,
    sa.Column("closing_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("order_id", sa.String(64), nullable=False, comment="the exchange's id of the closing order"),
    _account(),
    _symbol(),
    sa.Column("position_side", sa.String(5), nullable=False, comment="LONG or SHORT: the position that was closed"),
    sa.Column("reason", sa.String(16), nullable=False, comment="stop, target, liquidation, adl, settlement or other"),
    sa.Column("qty", DecimalText, nullable=False, comment="closed, in coins"),
    sa.Column("entry_price", DecimalText, nullable=False, comment="average, USDT"),
    sa.Column("exit_price", DecimalText, nullable=False, comment="average, USDT"),
    sa.Column("pnl", DecimalText, nullable=False, comment="net of fees, without funding, USDT"),
    sa.Column("fees", DecimalText, nullable=False, comment="of the entry's part and the exit, USDT"),
    sa.Column("signal_id", sa.Text, comment="the signal that opened it; none where it was not ours"),
    _time("closed_ms", "closing"),
    sa.Index("ix_closings_account_time", "account", "closed_ms"),
    sa.Index("ix_closings_order", "order_id"),
    comment="Closed positions with their result. The rows of an order add up to what the exchange tells of it: one for "
    "each of ours and one for what is foreign, and another one for what was added later.",
)

equity = sa.Table(
    "equity",
    metadata,
    sa.Column("equity_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
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
    _time("time_ms", "moment of the reading"),
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
    _time("time_ms", "the change"),
    sa.Index("ix_account_transactions_time", "account", "time_ms"),
    comment="The exchange's transaction log: what changed the balances.",
)

delivery_announcements = sa.Table(
    "delivery_announcements",
    metadata,
    sa.Column("venue", sa.String(16), primary_key=True, comment="simulator, demo, testnet, mainnet ..."),
    sa.Column("symbol", sa.String(64), primary_key=True, comment="the exchange's symbol"),
    sa.Column("delivery_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="its end, UTC ms"),
    _time("seen_ms", "the announcement was first seen"),
    comment="Contracts that end: since when it was known, so that an hour before knows nothing of it.",
)

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    sa.Column("reconciliation_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
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

outbox_messages = sa.Table(
    "outbox_messages",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
    sa.Column("kind", sa.String(16), nullable=False, comment="what it is about: fill, closing, risk, run ..."),
    sa.Column("severity", sa.String(8), nullable=False, comment="info, warning or critical"),
    sa.Column("title", sa.Text, nullable=False, comment="of the message"),
    sa.Column("body", sa.Text, nullable=False, comment="of the message"),
    _time("time_ms", "what it tells"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Index("ix_outbox_messages_account", "account", "written_wall_ms"),
    comment="Messages to people, written with what they tell: a death between the two loses none.",
)

outbox_channels = sa.Table(
    "outbox_channels",
    metadata,
    _account(primary_key=True),
    sa.Column("name", sa.String(48), primary_key=True, comment="kind of the messenger and a mark of its URL"),
    sa.Column("after_message_id", sa.Integer, nullable=False, comment="it gets the messages after this one"),
    comment="The channels that messages of an account have gone to.",
)

outbox_deliveries = sa.Table(
    "outbox_deliveries",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=False, comment="the message"),
    sa.Column("channel", sa.String(48), primary_key=True, comment="name of the channel"),
    sa.Column("state", sa.String(10), nullable=False, comment="waiting, delivered or given up"),
    sa.Column("attempts", sa.Integer, nullable=False, comment="how often it was tried"),
    sa.Column("due_wall_ms", sa.BigInteger, nullable=False, comment="not tried again before, UTC ms"),
    sa.Column("queued_wall_ms", sa.BigInteger, nullable=False, comment="since when it waits, UTC ms"),
    sa.Column("ended_wall_ms", sa.BigInteger, comment="when it was delivered or given up, UTC ms"),
    sa.Column("error", sa.Text, comment="of the last try that failed"),
    sa.Index("ix_outbox_deliveries_waiting", "channel", "state", "message_id"),
    comment="What became of each message on each channel: at least once, in order, until it is too old.",
)

automation_troubles = sa.Table(
    "automation_troubles",
    metadata,
    _account(primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True, comment="the schedule or sensor that saw it"),
    sa.Column("text", sa.Text, nullable=False, comment="what is wrong, and what to do"),
    sa.Column("since_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    comment="What keeps schedules and sensors from going on now: limits of tries, blocked hours, stuck runs.",
)

risk_events = sa.Table(
    "risk_events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
    sa.Column(
        "kind",
        sa.String(32),
        nullable=False,
        comment="difference, unprotected, refused read or order and its code, or gate and its name",
    ),
    sa.Column(
        "symbol", sa.String(64), comment="symbol in the words of the venue; none where the whole account is concerned"
    ),
    sa.Column("detail", sa.Text, nullable=False, comment="what was found and what was done"),
    _time("time_ms", "moment of the event"),
    sa.Index("ix_risk_events_account", "account", "kind", "symbol"),
    comment="What the reconciler and the risk guard met: differences, lost stops, gates that shut and opened.",
)

risk_states = sa.Table(
    "risk_states",
    metadata,
    sa.Column("state_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
    sa.Column("state", sa.String(8), nullable=False, comment="ACTIVE, REDUCING or HALTED, from this row on"),
    sa.Column("cause", sa.String(16), nullable=False, comment="command, drawdown, daily loss or unprotected"),
    sa.Column("reason", sa.Text, nullable=False, comment="as the person gave it, or the limit and its value"),
    sa.Column("actor", sa.Text, nullable=False, comment="who: a person, a job, or the guard itself"),
    sa.Column("until_ms", sa.BigInteger, comment="ends by itself at this time, UTC ms; NULL: only by another row"),
    _time("time_ms", "moment of the change"),
    sa.Index("ix_risk_states_account", "account", "state_id"),
    comment="What the risk guard allows, and who said so.",
)

signal_evaluations = sa.Table(
    "signal_evaluations",
    metadata,
    sa.Column("evaluation_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, comment="hour of the selection that was followed, UTC ms"),
    sa.Column(
        "outcomes",
        sa.Text,
        nullable=False,
        comment="JSON object: symbol to why it was not decided, or why its signal was dropped; empty: decided",
    ),
    _time("time_ms", "moment of the evaluation"),
    sa.Index("signal_evaluations_by_time", "account", "time_ms"),
    comment="When the finder evaluated which coins, and what kept it from deciding: parity is explained by it.",
)

signal_evidence = sa.Table(
    "signal_evidence",
    metadata,
    sa.Column("signal_id", sa.String(200), primary_key=True, comment="the signal"),
    sa.Column("content", sa.Text, nullable=False, comment="JSON object: copies of the rows that it came from"),
    sa.Column("content_hash", sa.String(64), nullable=False, comment="SHA-256 of the content, hexadecimal"),
    _time("time_ms", "moment of the signal"),
    comment="What each signal was decided on, as it was then: partitions may be written again, these rows never.",
)

partition_writes = sa.Table(
    "partition_writes",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run that wrote the rows that are there now"),
    sa.Column("code_version", sa.String(64), nullable=False, comment="of the asset when it wrote them"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    comment="Who wrote each partition last: the way back from an order to its candles, kept when Dagster forgets.",
)

check_results = sa.Table(
    "check_results",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("check_name", sa.String(64), primary_key=True, comment="name of the check, as in Dagster"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("passed", sa.Boolean, nullable=False, comment="the newest verdict"),
    sa.Column("detail", sa.Text, comment="what was found, where it failed"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run of the check"),
    sa.Index("ix_check_results_hour", "hour_ms"),
    comment="The newest verdict of each blocking check on each partition: what selections and orders ask.",
)

excluded_strategies = sa.Table(
    "excluded_strategies",
    metadata,
    sa.Column("timeframe", sa.String(8), primary_key=True, comment="of the backtests that are left out"),
    sa.Column("strategy", sa.String(64), primary_key=True, comment="name of the strategy"),
    sa.Column("check_name", sa.String(64), primary_key=True, comment="the check that it failed"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("detail", sa.Text, nullable=False, comment="what was found"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run of the check"),
    sa.Index("ix_excluded_strategies_hour", "hour_ms"),
    comment="Strategies that failed a check of their own in an hour: their backtests are not selected, nor traded.",
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="what may be done by one holder at a time"),
    sa.Column("holder", sa.Text, nullable=False, comment="unique to one life of one process"),
    sa.Column("fence", sa.BigInteger, nullable=False, comment="grows with every change of the holder"),
    sa.Column("expires_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms; 0 when given back"),
    sa.Column(
        "ttl_ms", sa.BigInteger, nullable=False, server_default="30000", comment="its length from the last renewal, ms"
    ),
    comment="What one process at a time may do, such as trading an account.",
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True, comment="name of the trading account in this ledger"),
    sa.Column("venue", sa.String(16), nullable=False, comment="whose account it is; empty: nobody has said it yet"),
    sa.Column("user_id", sa.String(32), comment="the venue's number of the account; none where it does not tell it"),
    sa.Column("market", sa.String(64), nullable=False, comment="the market that it trades"),
    sa.Column("bound_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was bound, UTC ms"),
    sa.Column("bound_by", sa.Text, nullable=False, comment="a person, or the first use of an empty ledger"),
    comment="Whose money the rows of an account are about. A key of another account is refused.",
)

account_fees = sa.Table(
    "account_fees",
    metadata,
    sa.Column("account", sa.String(32), primary_key=True, comment="name of the trading account in this ledger"),
    sa.Column("taker", sa.Double, nullable=False, comment="fraction of notional"),
    sa.Column("maker", sa.Double, nullable=False, comment="fraction of notional"),
    _time("time_ms", "moment at which the venue was asked"),
    comment="Fees of an account as the venue told them last: backtests and reports count them, not the setting.",
)

research_market = sa.Table(
    "research_market",
    metadata,
    sa.Column("market_id", sa.Integer, primary_key=True, autoincrement=False, comment="1: a ledger has one market"),
    sa.Column("name", sa.String(64), nullable=False, comment="of the market; empty: nobody has said it yet"),
    sa.Column("bound_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was bound, UTC ms"),
    sa.Column("bound_by", sa.Text, nullable=False, comment="a person, or the first use of an empty ledger"),
    comment="The market that scans, candles, backtests and selections are of: they are traded on no other.",
)

trading_switches = sa.Table(
    "trading_switches",
    metadata,
    sa.Column("switch_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    _account(),
    sa.Column("state", sa.String(3), nullable=False, comment="on or off: whether it is traded, from this row on"),
    sa.Column("actor", sa.Text, nullable=False, comment="who switched it"),
    sa.Column("reason", sa.Text, nullable=False, comment="as the person gave it"),
    sa.Column("time_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Index("ix_trading_switches_account", "account", "switch_id"),
    comment="The switch of each account. Without a row only a simulated account is traded.",
)

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("installation_id", sa.Integer, primary_key=True, autoincrement=False, comment="1: a ledger has one home"),
    sa.Column("mark", sa.String(36), nullable=False, comment="what the file `installation` in the home says"),
    sa.Column("home", sa.Text, nullable=False, comment="where the home was when it was marked"),
    sa.Column("code", sa.String(64), comment="digest of the sources that the daemon's code server runs"),
    comment="Which home belongs to this ledger: a folder that is not shared is noticed.",
)

history_tables = (
    order_events,
    fills,
    closings,
    equity,
    account_transactions,
    reconciliations,
    risk_events,
    risk_states,
    signal_evidence,
    trading_switches,
)
"""Rows that are never changed or deleted: triggers made by the migrations see to it."""

account_tables = tuple(table for table in metadata.tables.values() if table.name not in _DERIVED)
"""All but the tables of the pipeline's stages."""
