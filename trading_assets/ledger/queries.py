"""What the repositories of the ledger share: values a part at a time, and rows as a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import Side
from trading_assets.ledger.database import Database

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OrderRow = TypeVar("OrderRow", bound="DataclassInstance")


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


def orders_as(
    kind: type[OrderRow],
    connection: sa.Connection,
    table: sa.Table,
    *where: sa.ColumnElement[bool],
    most: int | None = None,
) -> list[OrderRow]:
    """Return orders of grids or DCA plans, in the order of their reservation.

    Every look reads all that a grid or plan has ever sent, so a row is built from its columns in their order, without
    names.

    Args:
        kind: a dataclass whose fields are columns of the table, `side` among them.
        most: so many rows; None is all of them.
    """
    names = [field.name for field in fields(kind)]
    side_at = names.index("side")
    statement = sa.select(*(table.c[name] for name in names)).where(*where)
    statement = statement.order_by(table.c.created_ms, table.c.order_link_id).limit(most)
    found = [list(row) for row in connection.execute(statement)]
    for values in found:
        values[side_at] = Side(values[side_at])
    return [kind(*values) for values in found]
