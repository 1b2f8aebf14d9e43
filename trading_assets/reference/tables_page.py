"""docs/reference/tables.md: the tables of the pipeline from their pandera models."""

from __future__ import annotations

import inspect

import pandas as pd

from trading_assets.core import schemas
from trading_assets.core.schemas import Table
from trading_assets.reference import constraints, markdown

_INTRODUCTION = """
Each stage of the pipeline writes one of these tables into the system of record (SQL: SQLite in the home, or
PostgreSQL, by `TRADING_ASSETS_DATABASE_URL`). Types are those of the data frame: an integer is 64 bits and a number a
double. Columns that end in `_ms` are milliseconds since 1970 in UTC; in `_pct`, percent; in `_bps`, basis points. The
blocking check `SCHEMA` holds every row that is written against this page. How long rows are kept:
[retention](../retention.md). The account's own tables are in [ledger.md](ledger.md).
"""


def build() -> str:
    """The page."""
    parts = [_part(table) for table in _tables()]
    return markdown.page("Tables of the pipeline", "trading_assets/core/schemas.py", _INTRODUCTION, parts)


def _tables() -> list[Table]:
    """Every table that the module defines, in its order."""
    return [value for value in vars(schemas).values() if isinstance(value, Table)]


def _part(table: Table) -> str:
    columns = table.model.to_schema().columns
    key = ", ".join(map(markdown.literal, table.key))
    rows = [
        (
            markdown.literal(name),
            type_name(table.dtypes[name]),
            constraints.of_column(column.checks),
            "yes" if column.nullable else "",
            str(column.description or ""),
        )
        for name, column in columns.items()
    ]
    lines = [
        f"## {table.name}",
        markdown.paragraphs(inspect.getdoc(table.model) or ""),
        f"Key: {key}. Partition: {markdown.literal(table.partition)}.",
        markdown.table(["column", "type", "values", "may be absent", "meaning"], rows),
    ]
    return "\n\n".join(lines)


def type_name(dtype: object) -> str:
    """A data frame's type for a reader."""
    if pd.api.types.is_bool_dtype(dtype):  # type: ignore[arg-type]
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):  # type: ignore[arg-type]
        return "integer"
    return "number" if pd.api.types.is_float_dtype(dtype) else "text"  # type: ignore[arg-type]
