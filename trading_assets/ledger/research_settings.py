"""What research was done with: each content that followed on another one has a version. Rows are only added."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import research_settings as table

LOCK = "research settings"


@dataclass(frozen=True)
class Version:
    """A content, its number, and since when it was used, by the exchange's clock."""

    number: int
    content: str
    since_ms: int


def record(database: Database, content: str, now_ms: int) -> Version:
    """Return the version of a content that is used now: the newest one, or a new one where that is another."""
    newest = _newest(database)
    if newest is not None and newest.content == content:
        return newest
    with database.write(one_at_a_time=LOCK) as connection:
        newest = _first(connection, sa.select(table).order_by(table.c.version.desc()))
        if newest is not None and newest.content == content:
            return newest
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        connection.execute(sa.insert(table).values(digest=digest, content=content, since_ms=now_ms))
        added = _first(connection, sa.select(table).order_by(table.c.version.desc()))
    assert added is not None
    return added


def at(database: Database, time_ms: int) -> Version | None:
    """Return the version that was used at a moment; before the first one, the first; None where there is none."""
    before = sa.select(table).where(table.c.since_ms <= time_ms).order_by(table.c.version.desc())
    with database.read() as connection:
        found = _first(connection, before)
        return found if found is not None else _first(connection, sa.select(table).order_by(table.c.version))


def _newest(database: Database) -> Version | None:
    with database.read() as connection:
        return _first(connection, sa.select(table).order_by(table.c.version.desc()))


def _first(connection: sa.Connection, wanted: sa.Select[tuple[object, ...]]) -> Version | None:
    row = connection.execute(wanted.limit(1)).mappings().one_or_none()
    return None if row is None else Version(int(row["version"]), str(row["content"]), int(row["since_ms"]))
