"""Messages that are written with what they tell, in one transaction, and kept until they are sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import untold_messages


@dataclass(frozen=True)
class Message:
    """A message to a person that is not sent yet."""

    message_id: int
    title: str
    body: str


def add(connection: sa.Connection, account: str, title: str, body: str, time_ms: int) -> None:
    """Keep a message, to be sent after the transaction."""
    connection.execute(
        sa.insert(untold_messages).values(account=account, title=title, body=body, time_ms=time_ms),
    )


def untold(database: Database, account: str) -> list[Message]:
    """Return the account's messages that are not sent yet, the oldest first."""
    table = untold_messages.c
    statement = (
        sa.select(table.message_id, table.title, table.body).where(table.account == account).order_by(table.message_id)
    )
    with database.read() as connection:
        return [Message(*row) for row in connection.execute(statement)]


def forget(database: Database, ids: Collection[int]) -> None:
    """Messages that were sent are kept no longer."""
    with database.write() as connection:
        connection.execute(sa.delete(untold_messages).where(untold_messages.c.message_id.in_(sorted(ids))))
