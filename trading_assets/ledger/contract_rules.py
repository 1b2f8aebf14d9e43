"""Which rules of contracts an hour's scan was made with, as the hour's own list told them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from trading_assets.core.schemas import MARKET_SCAN, RULES_KNOWN
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import sql_table


def known(database: Database, hours_ms: Sequence[int]) -> dict[tuple[int, str], str]:
    """Return the digest of the rules (`market.universe.rules_digest`) by hour (UTC ms) and symbol, where the hour was
    scanned by the venue's list of its own time."""
    if not hours_ms:
        return {}
    scans = sql_table(MARKET_SCAN)
    statement = sa.select(scans.c.hour_ms, scans.c.symbol, scans.c.rules_digest).where(
        scans.c.contract_rules == RULES_KNOWN,
        scans.c.rules_digest.is_not(None),
        scans.c.hour_ms.between(min(hours_ms), max(hours_ms)),
    )
    with database.read() as connection:
        return {(hour, symbol): digest for hour, symbol, digest in connection.execute(statement)}
