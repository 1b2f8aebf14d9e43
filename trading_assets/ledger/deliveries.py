"""Announced ends of contracts in the ledger: since when each was known, so that an hour before knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from trading_assets.core.models import Announcement, Instrument
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import delivery_announcements as table


def note(database: Database, venue: str, instruments: Iterable[Instrument], seen_ms: int) -> None:
    """Add the announcements of a list of contracts that the ledger lacks. What is there keeps its first time."""
    told = {(one.symbol, one.delivery_ms) for one in instruments if one.delivery_ms is not None}
    if not told:
        return
    statement = sa.select(table.c.symbol, table.c.delivery_ms).where(table.c.venue == venue)
    with database.write(one_at_a_time=f"deliveries of {venue}") as connection:
        new = told - {(symbol, delivery_ms) for symbol, delivery_ms in connection.execute(statement)}
        if new:
            rows = [
                {"venue": venue, "symbol": symbol, "delivery_ms": delivery_ms, "seen_ms": seen_ms}
                for symbol, delivery_ms in sorted(new)
            ]
            connection.execute(sa.insert(table), rows)


def announced(database: Database, venue: str) -> list[Announcement]:
    """Return every announcement of a venue, by symbol and time."""
    columns = (table.c.symbol, table.c.delivery_ms, table.c.seen_ms)
    statement = sa.select(*columns).where(table.c.venue == venue).order_by(*columns)
    with database.read() as connection:
        return [
            Announcement(symbol, delivery_ms, seen_ms) for symbol, delivery_ms, seen_ms in connection.execute(statement)
        ]
