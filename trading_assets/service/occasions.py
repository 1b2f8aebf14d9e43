"""What nobody's own act tells: blocked hours, and the day that has ended. Whoever looks first keeps it, once."""

from __future__ import annotations

from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.timeframes import hour_key
from trading_assets.ledger import checks, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.reporting import daily_summary


def keep_due(database: Database, account: str, wall_ms: int) -> None:
    """Keep the messages that are due and were not kept yet.

    Raises:
        StorageError: the ledger cannot be read or written.
    """
    _keep_blocked_hours(database, account, wall_ms)
    daily_summary.keep_if_due(database, account, wall_ms)


def _keep_blocked_hours(database: Database, account: str, wall_ms: int) -> None:
    newest = latest_hour_ms(database, MARKET_SCAN)
    if newest is None:
        return
    for hour, why in checks.blocked_hours(database, newest - checks.TRIED_AGAIN_MS).items():
        key = f"hour:{hour}"
        if outbox.is_known(database, account, key):
            continue
        title = f"hour {hour_key(hour)} is blocked, nothing of it is traded"
        message = Message(title, plain(why), Kind.HOUR, Severity.WARNING, is_kept=True, key=key)
        with database.write() as connection:
            outbox.add(connection, account, message, time_ms=hour, wall_ms=wall_ms)
