"""Entry signals in the ledger: each is inserted once and changes its status. No decisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from trading_assets.core.errors import ConflictError, DataError
from trading_assets.core.messages import Message
from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.ledger import evidence, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.evidence import Decided
from trading_assets.ledger.queries import in_parts
from trading_assets.ledger.tables import entry_signals as table

ACTIVE, EXECUTING, EXECUTED = "active", "executing", "executed"
REJECTED, EXPIRED, FAILED = "rejected", "expired", "failed"

BROKEN = "entry_signals broke its schema; see its check"
"""Why signals that were found together with one that breaks the schema are rejected."""


@dataclass(frozen=True)
class RecentSignal:
    """The columns of a signal that tell whether another one repeats it."""

    signal_id: str
    symbol: str
    strategy: str
    status: str
    position_type: str
    entry_price: float
    signal_timestamp_ms: int
    created_at_ms: int


def first_executed_ms(database: Database, account: str, since_ms: int = 0) -> int | None:
    """Return when the account's first signal since a time was executed, UTC ms; None where none was."""
    statement = sa.select(sa.func.min(table.c.executed_at_ms)).where(
        table.c.account == account, table.c.executed_at_ms >= since_ms
    )
    with database.read() as connection:
        found = connection.execute(statement).scalar_one_or_none()
    return None if found is None else int(found)


def insert(database: Database, row: Mapping[str, object]) -> bool:
    """Add a signal and what it came from. Return False where its id exists already: this process or another was first.

    Raises:
        DataError: a value that every signal has is missing.
    """
    return bool(insert_new(database, [row]))


def insert_new(
    database: Database,
    rows: Sequence[Mapping[str, object]],
    *,
    btc: str = "BTCUSDT",
    decided: Mapping[str, Decided] | None = None,
    told: Callable[[Mapping[str, object]], Message] | None = None,
    wall_ms: int = 0,
) -> set[str]:
    """Add signals and what they came from in one transaction. Return the ids of those that were new.

    They are held against their schema as they are stored, before anybody can see them: where one breaks it, all that
    are new are rejected, so no round ever takes a signal that was not checked.

    Args:
        btc: the venue's symbol of the BTC perpetual: strategies read its candles.
        decided: by signal id, what they were decided on besides the rows of the ledger.
        told: makes the message of a row that was new, kept with it; `wall_ms` is when, by the local clock, UTC ms.

    Raises:
        DataError: a value that every signal has is missing; nothing was added.
    """
    if not rows:
        return set()
    # One statement for all: each of its own would cost as much as deciding on the candle did.
    insert: postgresql.Insert | sqlite.Insert
    insert = postgresql.insert(table) if database.dialect == "postgresql" else sqlite.insert(table)
    statement = insert.values([dict(row) for row in rows]).on_conflict_do_nothing(index_elements=[table.c.signal_id])
    try:
        with database.write() as connection:
            added = set(connection.execute(statement.returning(table.c.signal_id)).scalars())
            _reject_broken(connection, added)
            if not added:
                return added
            news = [row for row in rows if row["signal_id"] in added]
            evidence.add_each(connection, news, btc, decided or {})
            if told is not None:
                messages = [(told(row), int(str(row["created_at_ms"]))) for row in news]
                outbox.add_each(connection, str(news[0]["account"]), messages, wall_ms=wall_ms)
            return added
    except ConflictError as error:
        raise DataError(f"a signal cannot be stored: {error}; none of {len(rows)} was") from error


def still_active(connection: sa.Connection, identities: Sequence[str]) -> set[str]:
    """Return those that wait, and keep them so for others until the write transaction ends."""
    found = set[str]()
    for part in in_parts(identities):
        waiting = sa.select(table.c.signal_id).where(table.c.signal_id.in_(part), table.c.status == ACTIVE)
        found |= set(connection.execute(waiting.with_for_update()).scalars())
    return found


def active(database: Database, account: str) -> list[dict[str, Any]]:
    """Return the rows of waiting signals, the most confident first. No data frame: orders wait for it."""
    statement = sa.select(table).where(table.c.account == account, table.c.status == ACTIVE)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(statement).mappings()]
    return sorted(rows, key=lambda row: (-row["confidence"], row["signal_id"]))


def since(database: Database, account: str, time_ms: int) -> pd.DataFrame:
    """Return the signals created at or after a time."""
    return _read(database, sa.select(table).where(table.c.account == account, table.c.created_at_ms >= time_ms))


def newest(
    database: Database, account: str, limit: int, *, statuses: Sequence[str] = (), min_confidence: float = 0.0
) -> pd.DataFrame:
    """Return the newest signals, the newest last.

    Args:
        statuses: only those in one of them; empty: in any.
        min_confidence: percent.
    """
    statement = sa.select(table).where(table.c.account == account, table.c.confidence >= min_confidence)
    if statuses:
        statement = statement.where(table.c.status.in_(list(statuses)))
    found = _read(database, statement.order_by(table.c.created_at_ms.desc(), table.c.signal_id).limit(limit))
    return found.iloc[::-1]


def recent(database: Database, account: str, time_ms: int) -> dict[str, list[RecentSignal]]:
    """Return what a new signal must not repeat: signals created at or after a time, by symbol."""
    columns = [table.c[field.name] for field in fields(RecentSignal)]
    statement = sa.select(*columns).where(table.c.account == account, table.c.created_at_ms >= time_ms)
    with database.read() as connection:
        rows = connection.execute(statement).all()
    found: dict[str, list[RecentSignal]] = {}
    for row in rows:
        found.setdefault(str(row.symbol), []).append(RecentSignal(*row))
    return found


def by_ids(database: Database, signal_ids: Sequence[str]) -> pd.DataFrame:
    """Return the signals of these ids."""
    return _read(database, sa.select(table).where(table.c.signal_id.in_(list(signal_ids))))


def expire(database: Database, account: str, now_ms: int) -> int:
    """Expire waiting signals whose life time is over. Return how many. The last refusal stays as the reason."""
    statement = (
        sa.update(table)
        .where(table.c.account == account, table.c.status == ACTIVE, table.c.ttl_ms <= now_ms)
        .values(
            status=EXPIRED,
            reason=sa.func.coalesce(table.c.reason, "its life time ended before it could be executed"),
        )
    )
    with database.write() as connection:
        return int(connection.execute(statement).rowcount)


def note(database: Database, signal_id: str, reason: str, *, status: str | None = None) -> None:
    """Record why a waiting signal was not executed now, or end it with `status`."""
    values = {"reason": reason, **({"status": status} if status else {})}
    with database.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.signal_id == signal_id, table.c.status == ACTIVE).values(**values)
        )


def reject(database: Database, signal_ids: Sequence[str], reason: str) -> None:
    """End waiting signals of these ids."""
    with database.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.signal_id.in_(list(signal_ids)), table.c.status == ACTIVE)
            .values(status=REJECTED, reason=reason)
        )


def _reject_broken(connection: sa.Connection, added: Collection[str]) -> None:
    """End new signals where one of them breaks the schema. Plain comparisons: orders wait for it."""
    if not added:
        return
    new = table.c.signal_id.in_(sorted(added))
    if ENTRY_SIGNALS.faults([dict(row) for row in connection.execute(sa.select(table).where(new)).mappings()]):
        connection.execute(sa.update(table).where(new, table.c.status == ACTIVE).values(status=REJECTED, reason=BROKEN))


def _read(database: Database, statement: sa.Select[tuple[object, ...]]) -> pd.DataFrame:
    with database.read() as connection:
        return _framed(connection, statement)


def _framed(connection: sa.Connection, statement: sa.Select[tuple[object, ...]]) -> pd.DataFrame:
    rows = connection.execute(statement).mappings().all()
    return ENTRY_SIGNALS.conform(pd.DataFrame([dict(row) for row in rows], columns=ENTRY_SIGNALS.columns))
