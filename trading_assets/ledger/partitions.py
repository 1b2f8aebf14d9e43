"""Partitioned tables of the pipeline in SQL: a write replaces whole partitions in one transaction.

What is in a row is the business of `trading_assets.schemas`; this module only stores and loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import sqlalchemy as sa

from trading_assets.errors import DataError
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import sql_table
from trading_assets.schemas.tables import Table

_ROWS_PER_STATEMENT = 1000


def replace_partitions(
    database: Database,
    table: Table,
    rows: pd.DataFrame,
    hours_ms: Sequence[int],
    where: Mapping[str, str] | None = None,
) -> None:
    """Replace the rows of `hours_ms` (and of the fixed column values in `where`) by `rows`, all or nothing.

    Raises:
        DataError: a row lies outside the hours or the fixed values; nothing was written.
    """
    rows = table.conform(rows)
    stray = set(rows[table.partition]) - set(hours_ms)
    if stray:
        raise DataError(f"table {table.name}: rows of hours {sorted(stray)[:3]} are outside the partitions written")
    for column, value in (where or {}).items():
        if not (rows[column] == value).all():
            raise DataError(f"table {table.name}: expected {column} = {value!r} in every row written")
    sql = sql_table(table)
    records = records_of(rows)
    with database.write(one_at_a_time=table.name) as connection:
        connection.execute(sa.delete(sql).where(_matches(table, hours_ms, where)))
        for start in range(0, len(records), _ROWS_PER_STATEMENT):
            connection.execute(sa.insert(sql), records[start : start + _ROWS_PER_STATEMENT])


def read_partitions(
    database: Database, table: Table, hours_ms: Sequence[int], where: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Rows of the hours, sorted by key, with the model's column types; empty frame where there are none."""
    sql = sql_table(table)
    statement = sa.select(sql).where(_matches(table, hours_ms, where))
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return table.conform(pd.DataFrame.from_records(rows, columns=[column.name for column in sql.columns]))


def latest_hour_ms(database: Database, table: Table) -> int | None:
    """The newest partition that has rows."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.max(sql_table(table).c[table.partition]))).scalar_one_or_none()


def _matches(table: Table, hours_ms: Sequence[int], where: Mapping[str, str] | None) -> sa.ColumnElement[bool]:
    sql = sql_table(table)
    partition = sql.c[table.partition]
    hours = sorted(set(hours_ms))
    # A range of partitions is contiguous, so two bounds replace thousands of bind variables; `IN` for the rest.
    span = range(hours[0], hours[-1] + 1, 3_600_000) if hours else range(0)
    matching = partition.between(hours[0], hours[-1]) if hours and len(span) == len(hours) else partition.in_(hours)
    return sa.and_(matching, *(sql.c[column] == value for column, value in (where or {}).items()))


def records_of(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as dictionaries of Python values, missing values as None."""
    columns = []
    for name in rows.columns:
        values, missing = rows[name].tolist(), rows[name].isna().to_numpy()
        if missing.any():
            values = [None if absent else value for value, absent in zip(values, missing.tolist(), strict=True)]
        columns.append(values)
    names = [str(name) for name in rows.columns]
    return [dict(zip(names, record, strict=True)) for record in zip(*columns, strict=True)]
