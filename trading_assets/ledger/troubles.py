"""What keeps schedules and sensors from going on, as each saw it last: for people, where they look. No decisions."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.messages import Message
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import automation_troubles as table


@dataclass(frozen=True)
class Trouble:
    """What is wrong, who saw it, and since when by the local clock, UTC ms."""

    source: str
    text: str
    since_wall_ms: int

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


def note(
    database: Database, account: str, source: str, text: str, wall_ms: int, *, message: Message | None = None
) -> bool:
    """Keep what a schedule or sensor found; empty where all is well. Return whether trouble has begun.

    Args:
        message: kept with a trouble that begins.
    """
    mine = (table.c.account == account) & (table.c.source == source)
    with database.read() as connection:
        before = connection.execute(sa.select(table.c.text).where(mine)).scalar_one_or_none()
    if (before or "") == text:
        return False
    with database.write(one_at_a_time=f"troubles of {account}") as connection:
        if not text:
            connection.execute(sa.delete(table).where(mine))
            return False
        if connection.execute(sa.update(table).where(mine).values(text=text)).rowcount:
            return False
        connection.execute(sa.insert(table).values(account=account, source=source, text=text, since_wall_ms=wall_ms))
        if message is not None:
            outbox.add(connection, account, message, time_ms=wall_ms, wall_ms=wall_ms)
    return True


def current(database: Database, account: str) -> list[Trouble]:
    """Return what is wrong now, by who saw it."""
    statement = (
        sa.select(table.c.source, table.c.text, table.c.since_wall_ms)
        .where(table.c.account == account)
        .order_by(table.c.source)
    )
    with database.read() as connection:
        return [Trouble(*row) for row in connection.execute(statement)]
