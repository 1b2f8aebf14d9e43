"""What has become of a trial's signals, as its ledger and its exchange say it."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from trading_assets.core.models import Execution
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals, order_intents
from trading_assets.trading.saga.steps import NEVER_REACHED


def by_status(database: Database) -> dict[str, int]:
    """Number of signals by their status."""
    with database.read() as connection:
        return dict(Counter(connection.execute(sa.select(entry_signals.c.status)).scalars()))


def with_status(database: Database, *statuses: str) -> int:
    """Number of signals that have one of these statuses."""
    found = by_status(database)
    return sum(found.get(status, 0) for status in statuses)


def in_doubt(database: Database) -> int:
    """Number of orders that were given up because the exchange never showed them."""
    with database.read() as connection:
        given_up = order_intents.c.reason == NEVER_REACHED
        return int(connection.execute(sa.select(sa.func.count()).where(given_up)).scalar_one())


def entry_fills(exchange: Exchange, since_ms: int) -> list[Execution]:
    """What entries of this system have filled since a time."""
    rows = exchange.executions(since_ms, exchange.now_ms() + 1)
    return [row for row in rows if exchange.order_ids.is_entry(row.order_link_id)]
