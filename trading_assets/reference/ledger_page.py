"""docs/reference/ledger.md: the account's tables from their SQLAlchemy definitions."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger import migrations
from trading_assets.ledger.tables import DecimalText, account_tables, history_tables
from trading_assets.reference import markdown

_INTRODUCTION = """
The ledger is in the same database as [the pipeline's tables](tables.md). A *decimal* is exact: the digits that the
exchange sent, kept as text. Columns that end in `_ms` are milliseconds since 1970 in UTC, by the exchange's clock
unless they say *local clock*. Tables marked *history* only grow: triggers of the database refuse to change or delete
a row.

The schema has revisions; the newest is `{revision}`. Whatever opens an older ledger brings it there by itself;
`trading-assets ledger revision` tells which one there is.
"""

_TYPES: tuple[tuple[type, str], ...] = (
    (DecimalText, "decimal"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.Double, "number"),
    (sa.Text, "text"),
    (sa.String, "text"),
)


def build() -> str:
    """The page."""
    introduction = _INTRODUCTION.format(revision=migrations.HEAD)
    parts = [_part(table) for table in account_tables]
    return markdown.page("Tables of the ledger", "trading_assets/ledger/tables.py", introduction, parts)


def _part(table: sa.Table) -> str:
    history = " *History.*" if table in history_tables else ""
    rows = [
        (
            markdown.literal(column.name),
            _type_name(column),
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


def _type_name(column: sa.Column[object]) -> str:
    return next(name for kind, name in _TYPES if isinstance(column.type, kind))
