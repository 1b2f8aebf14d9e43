"""Which hours were selected, and which of them chose no coin: those have no row, but the write of the hour is known."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.timeframes import hour_key
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import partition_writes, sql_table

ASSET = "strategy_selections"

_rows = sql_table(STRATEGY_SELECTIONS)
_SELECTED_AT_ALL = sa.exists().where(_rows.c.hour_ms == partition_writes.c.hour_ms)


def empty_hours(database: Database, first_ms: int | None = None, last_ms: int | None = None) -> list[int]:
    """Return the hours from `first_ms` to `last_ms` that were selected and chose no coin, ascending.

    An hour that a check blocks was not selected, although its selection may have been written, without a row.
    """
    hour = partition_writes.c.hour_ms
    statement = sa.select(hour).where(partition_writes.c.asset == ASSET, ~_SELECTED_AT_ALL).order_by(hour)
    if first_ms is not None:
        statement = statement.where(hour >= first_ms)
    if last_ms is not None:
        statement = statement.where(hour <= last_ms)
    with database.read() as connection:
        hours = list(connection.execute(statement).scalars())
        blocked = checks.failed(connection, hours, but=ASSET)
    return [one for one in hours if one not in blocked]


def newest_hour_ms(database: Database) -> int | None:
    """Return the newest hour that was selected, whether it chose a coin or not; None where there is none yet."""
    with database.read() as connection:
        chose = connection.execute(sa.select(sa.func.max(_rows.c.hour_ms))).scalar_one_or_none()
    empty = empty_hours(database, chose)
    return empty[-1] if empty else chose


def stored(database: Database, hour_ms: int) -> list[sa.Row[Any]]:
    """Return what the ledger holds of an hour's selection, as it holds it."""
    statement = sa.select(_rows).where(_rows.c.hour_ms == hour_ms).order_by(_rows.c.symbol)
    with database.read() as connection:
        return list(connection.execute(statement))


def chose_no_coin(hour_ms: int) -> str:
    """That a selected hour has no coin, for messages and reasons."""
    return f"hour {hour_key(hour_ms)} selected no coin"
