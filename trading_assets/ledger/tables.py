"""Every SQL table of the system of record. The hourly ones are derived from their pandera models."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import sqlalchemy as sa

from trading_assets.schemas.tables import ENTRY_SIGNALS, HOURLY_TABLES, LIVE_PARITY, Table

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
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("exchange", sa.String(32), nullable=False),
    sa.Column("pairs", sa.Text, nullable=False, comment="JSON list of symbols; empty means all"),
    sa.Column("timeframes", sa.Text, nullable=False, comment="JSON list; empty means all eight"),
    sa.Column(
        "parameters",
        sa.Text,
        nullable=False,
        comment="JSON object: {} tries the strategy's grid, else one set, and what is absent has its default",
    ),
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
    return sa.Column("symbol", sa.String(64), nullable=False)


def _account() -> sa.Column[str]:
    return sa.Column("account", sa.String(32), nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, comment="UTC ms")


order_intents = sa.Table(
    "order_intents",
    metadata,
    sa.Column("order_link_id", sa.String(36), primary_key=True, comment="deterministic, sent to the exchange"),
    sa.Column("signal_id", sa.Text, nullable=False, unique=True),
    _account(),
    _symbol(),
    sa.Column("side", sa.String(4), nullable=False),
    sa.Column("qty", DecimalText, nullable=False),
    sa.Column("stop_loss", DecimalText, nullable=False),
    sa.Column("take_profit", DecimalText, nullable=False),
    sa.Column("leverage", DecimalText, nullable=False),
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
    sa.Column("order_id", sa.Text),
    sa.Column("filled_qty", DecimalText),
    sa.Column("average_price", DecimalText),
    sa.Column("reason", sa.Text),
    _time("created_ms"),
    _time("updated_ms"),
    sa.Column("touched_wall_ms", sa.BigInteger, nullable=False, comment="local clock of the last change, UTC ms"),
)

order_events = sa.Table(
    "order_events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("order_link_id", sa.String(36), nullable=False, index=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text),
    _time("time_ms"),
)

fills = sa.Table(
    "fills",
    metadata,
    sa.Column("exec_id", sa.String(64), primary_key=True),
    _account(),
    _symbol(),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("order_link_id", sa.Text, nullable=False),
    sa.Column("side", sa.String(4), nullable=False),
    sa.Column(
        "exec_type",
        sa.String(24),
        nullable=False,
        comment="Trade is an ordinary fill; Funding, BustTrade ...",
    ),
    sa.Column("kind", sa.String(12), nullable=False, comment="trade, funding, liquidation, adl, settlement or other"),
    sa.Column("price", DecimalText, nullable=False),
    sa.Column("qty", DecimalText, nullable=False),
    sa.Column("value", DecimalText, nullable=False),
    sa.Column("fee", DecimalText, nullable=False, comment="of a funding row: positive is paid"),
    _time("time_ms"),
    sa.Index("ix_fills_account_time", "account", "time_ms"),
)

positions = sa.Table(
    "positions",
    metadata,
    sa.Column("account", sa.String(32), primary_key=True),
    sa.Column("symbol", sa.String(64), primary_key=True),
    sa.Column("side", sa.String(4), nullable=False),
    sa.Column("size", DecimalText, nullable=False),
    sa.Column("entry_price", DecimalText, nullable=False),
    sa.Column("mark_price", DecimalText, nullable=False),
    sa.Column("leverage", DecimalText, nullable=False),
    sa.Column("unrealised_pnl", DecimalText, nullable=False),
    sa.Column("liquidation_price", DecimalText),
    sa.Column("stop_loss", DecimalText),
    sa.Column("take_profit", DecimalText),
    _time("opened_ms"),
    _time("updated_ms"),
)

closings = sa.Table(
    "closings",
    metadata,
    sa.Column("order_id", sa.String(64), primary_key=True),
    _account(),
    _symbol(),
    sa.Column("position_side", sa.String(5), nullable=False, comment="LONG or SHORT: the position that was closed"),
    sa.Column("reason", sa.String(16), nullable=False, comment="stop, target, liquidation or other"),
    sa.Column("qty", DecimalText, nullable=False),
    sa.Column("entry_price", DecimalText, nullable=False),
    sa.Column("exit_price", DecimalText, nullable=False),
    sa.Column("pnl", DecimalText, nullable=False, comment="net of fees, without funding"),
    sa.Column("fees", DecimalText, nullable=False),
    sa.Column("signal_id", sa.Text),
    _time("closed_ms"),
    sa.Index("ix_closings_account_time", "account", "closed_ms"),
)

equity = sa.Table(
    "equity",
    metadata,
    sa.Column("equity_id", sa.Integer, primary_key=True, autoincrement=True),
    _account(),
    sa.Column("equity", DecimalText, nullable=False),
    sa.Column("wallet_balance", DecimalText, nullable=False),
    sa.Column("available", DecimalText, nullable=False),
    sa.Column("unrealised_pnl", DecimalText, nullable=False),
    sa.Column("peak", DecimalText, nullable=False, comment="highest equity since a person last accepted a drawdown"),
    _time("time_ms"),
    sa.Index("ix_equity_account", "account", "equity_id"),
)

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    sa.Column("reconciliation_id", sa.Integer, primary_key=True, autoincrement=True),
    _account(),
    sa.Column("new_fills", sa.Integer, nullable=False),
    sa.Column("new_closings", sa.Integer, nullable=False),
    sa.Column("open_positions", sa.Integer, nullable=False),
    sa.Column("differences", sa.Integer, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False, comment="books are read up to here, UTC ms"),
    sa.Index("ix_reconciliations_account", "account", "until_ms"),
)

risk_events = sa.Table(
    "risk_events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
    _account(),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("symbol", sa.String(64)),
    sa.Column("detail", sa.Text, nullable=False),
    _time("time_ms"),
    sa.Index("ix_risk_events_account", "account", "kind", "symbol"),
)

risk_states = sa.Table(
    "risk_states",
    metadata,
    sa.Column("state_id", sa.Integer, primary_key=True, autoincrement=True),
    _account(),
    sa.Column("state", sa.String(8), nullable=False, comment="ACTIVE, REDUCING or HALTED, from this row on"),
    sa.Column("cause", sa.String(16), nullable=False, comment="command, drawdown or daily loss"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False, comment="who: a person, a job, or the guard itself"),
    sa.Column("until_ms", sa.BigInteger, comment="ends by itself at this time, UTC ms; NULL: only by another row"),
    _time("time_ms"),
    sa.Index("ix_risk_states_account", "account", "state_id"),
)

finder_looks = sa.Table(
    "finder_looks",
    metadata,
    sa.Column("look_id", sa.Integer, primary_key=True, autoincrement=True),
    _account(),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, comment="hour of the selection that was followed, UTC ms"),
    sa.Column(
        "looked",
        sa.Text,
        nullable=False,
        comment="JSON object: symbol to why it was not decided, or why its signal was dropped; empty: decided",
    ),
    _time("time_ms"),
    sa.Index("finder_looks_by_time", "account", "time_ms"),
)
"""When the finder looked, at what, and what kept it from deciding: what parity with the backtest is explained by."""

partition_writes = sa.Table(
    "partition_writes",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run that wrote the rows that are there now"),
    sa.Column("code_version", sa.String(64), nullable=False, comment="of the asset when it wrote them"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
)
"""Who wrote each partition last: the way back from an order to its candles, kept when Dagster forgets its runs."""

check_results = sa.Table(
    "check_results",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("check_name", sa.String(64), primary_key=True),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, comment="what was found, where it failed"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run of the check"),
    sa.Index("ix_check_results_hour", "hour_ms"),
)
"""The newest verdict of each blocking check on each partition: what selections and orders ask."""

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="what may be done by one holder at a time"),
    sa.Column("holder", sa.Text, nullable=False, comment="unique to one life of one process"),
    sa.Column("fence", sa.BigInteger, nullable=False, comment="grows with every change of the holder"),
    sa.Column("expires_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms; 0 when given back"),
)

history_tables = (order_events, fills, closings, equity, reconciliations, risk_events, risk_states)
"""Rows that are never changed or deleted: triggers made by the migrations see to it."""
