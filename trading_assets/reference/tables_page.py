"""docs/reference/tables.md and ledger.md: the pipeline's tables from pandera models, the account's from SQLAlchemy."""

from __future__ import annotations

import inspect

import pandas as pd
import sqlalchemy as sa

from trading_assets.core import schemas
from trading_assets.core.schemas import Table
from trading_assets.ledger import migrations
from trading_assets.ledger.tables import DecimalText, account_tables, history_tables
from trading_assets.reference import constraints, markdown

_PIPELINE = """
Each stage of the pipeline writes one of these tables into the system of record: SQLite in the home, or PostgreSQL by
`TRADING_ASSETS_DATABASE_URL`. Types are those of the data frame: an integer has 64 bits, a number is a double. Columns
that end in `_ms` are milliseconds since 1970 in UTC; `_pct` is percent; `_bps` is basis points. The blocking check
`SCHEMA` compares every row that is written with this page. [Retention](../retention.md) tells how long rows are kept.
The account's own tables are in [ledger.md](ledger.md).
"""

_LEDGER = """
The ledger is in the same database as [the pipeline's tables](tables.md). A *decimal* is exact: the digits that the
exchange sent, kept as text. Columns that end in `_ms` are milliseconds since 1970 in UTC, by the exchange's clock
unless they say *local clock*. Tables marked *history* only grow: triggers of the database refuse to change or delete
a row.

The schema has revisions; the newest is `{revision}`. An older ledger is migrated when it is opened.
`trading-assets ledger revision` tells which revision a ledger has.
"""

_SQL_TYPES: tuple[tuple[type, str], ...] = (
    (sa.LargeBinary, "bytes"),
    (DecimalText, "decimal"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.Double, "number"),
    (sa.Text, "text"),
    (sa.String, "text"),
)


def pipeline() -> str:
    """The page of the pipeline's tables."""
    tables = [value for value in vars(schemas).values() if isinstance(value, Table)]
    return markdown.page(
        "Tables of the pipeline", "trading_assets/core/schemas.py", _PIPELINE, map(_pipeline_table, tables)
    )


def ledger() -> str:
    """The page of the account's tables."""
    introduction = _LEDGER.format(revision=migrations.HEAD)
    return markdown.page(
        "Tables of the ledger", "trading_assets/ledger/tables/", introduction, map(_ledger_table, account_tables)
    )


def _pipeline_table(table: Table) -> str:
    columns = table.model.to_schema().columns
    key = ", ".join(map(markdown.literal, table.key))
    rows = [
        (
            markdown.literal(name),
            _frame_type(table.dtypes[name]),
            constraints.describe_column(column.checks),
            "yes" if column.nullable else "",
            str(column.description or ""),
        )
        for name, column in columns.items()
    ]
    return "\n\n".join(
        [
            f"## {table.name}",
            markdown.paragraphs(inspect.getdoc(table.model) or ""),
            f"Key: {key}. Partition: {markdown.literal(table.partition)}.",
            markdown.table(["column", "type", "values", "may be absent", "meaning"], rows),
        ]
    )


def _frame_type(dtype: object) -> str:
    """A data frame's type for a reader."""
    if pd.api.types.is_bool_dtype(dtype):  # type: ignore[arg-type]
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):  # type: ignore[arg-type]
        return "integer"
    return "number" if pd.api.types.is_float_dtype(dtype) else "text"  # type: ignore[arg-type]


def _ledger_table(table: sa.Table) -> str:
    history = " *History.*" if table in history_tables else ""
    rows = [
        (
            markdown.literal(column.name),
            _sql_type(column),
            "key" if column.primary_key else ("unique" if column.unique else ""),
            "yes" if column.nullable else "",
            column.comment or "",
        )
        for column in table.columns
    ]
    return "\n\n".join(
        [
            f"## {table.name}",
            (table.comment or "") + history,
            markdown.table(["column", "type", "key", "may be absent", "meaning"], rows),
        ]
    )


def _sql_type(column: sa.Column[object]) -> str:
    return next(name for kind, name in _SQL_TYPES if isinstance(column.type, kind))
