"""What tables are made of: columns, and the tables of the pipeline, derived from their pandera models."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.schemas import ENTRY_SIGNALS, GRID_TABLES, HOURLY_TABLES, LIVE_PARITY, Table

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


DERIVED = {table.name: _derive(table) for table in (*HOURLY_TABLES, *GRID_TABLES, ENTRY_SIGNALS, LIVE_PARITY)}


def sql_table(table: Table) -> sa.Table:
    """The SQL table of a pipeline table."""
    return DERIVED[table.name]


entry_signals = sql_table(ENTRY_SIGNALS)


class DecimalText(sa.TypeDecorator[Decimal]):
    """A `Decimal` kept as its text: exact on SQLite, which has no decimal type, and on PostgreSQL alike."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else f"{value:f}"

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def symbol_column() -> sa.Column[str]:
    return sa.Column("symbol", sa.String(64), nullable=False, comment="symbol in the words of the venue")


def account_column(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "account", sa.String(32), primary_key=primary_key, nullable=False, comment="name of the trading account"
    )


def time_column(name: str, what: str) -> sa.Column[int]:
    """A moment of the exchange's clock."""
    return sa.Column(name, sa.BigInteger, nullable=False, comment=f"{what}, UTC ms")
