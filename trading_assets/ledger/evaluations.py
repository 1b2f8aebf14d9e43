"""When the finder looked and at what, in the ledger: append-only. Signals themselves are in `ledger.signals`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import finder_looks as table


@dataclass(frozen=True)
class Look:
    """One look at `time_ms` at the selection of `hour_ms` (UTC ms).

    `looked` has each coin whose candle was due: why it was not decided or its signal dropped, or "" where it was
    decided.
    """

    time_ms: int
    hour_ms: int
    looked: Mapping[str, str]


def add(database: Database, account: str, look: Look) -> None:
    """Record a look."""
    with database.write() as connection:
        connection.execute(
            sa.insert(table).values(
                account=account,
                hour_ms=look.hour_ms,
                looked=json.dumps(look.looked, sort_keys=True, separators=(",", ":")),
                time_ms=look.time_ms,
            )
        )


def between(database: Database, account: str, start_ms: int, end_ms: int) -> list[Look]:
    """Looks in [start_ms, end_ms), ascending."""
    statement = (
        sa.select(table.c.time_ms, table.c.hour_ms, table.c.looked)
        .where(table.c.account == account, table.c.time_ms >= start_ms, table.c.time_ms < end_ms)
        .order_by(table.c.time_ms, table.c.look_id)
    )
    with database.read() as connection:
        return [
            Look(time_ms, hour_ms, json.loads(looked)) for time_ms, hour_ms, looked in connection.execute(statement)
        ]
