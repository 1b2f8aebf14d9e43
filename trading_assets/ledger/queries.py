"""What the repositories of the ledger share: values a part at a time, and rows as a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import pandas as pd
import sqlalchemy as sa

from trading_assets.ledger.database import Database


def in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many values at a time as a statement takes variables."""
    for start in range(0, len(values), 500):
        yield values[start : start + 500]


def recorded(connection: sa.Connection, account: str, column: sa.Column[str], values: Sequence[str]) -> set[str]:
    """Return those of the values that the column has in rows of the account: another venue may use the same."""
    found: set[str] = set()
    for part in in_parts(values):
        mine = (column.table.c.account == account) & column.in_(part)
        found.update(connection.execute(sa.select(column).where(mine)).scalars())
    return found


def frame_of(
    database: Database,
    table: sa.Table,
    columns: Sequence[str],
    where: sa.ColumnElement[bool],
    order: sa.Column[object],
) -> pd.DataFrame:
    """Return columns of a table's rows as a frame, money as floats."""
    with database.read() as connection:
        rows = connection.execute(sa.select(*(table.c[name] for name in columns)).where(where).order_by(order)).all()
    values = [[plain(value) for value in row] for row in rows]
    return pd.DataFrame(values, columns=list(columns))


def plain(value: object) -> object:
    """Return money as a float, everything else as it is."""
    return float(value) if isinstance(value, Decimal) else value
