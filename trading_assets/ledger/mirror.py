"""What a mirror does not show yet. No sending.

Triggers note each change of a signal, and each writing of a partition, in the transaction of the change, while a mirror
is on; whoever writes need not know. A change is a key, not a value: it is noted once however often it happens, and
whoever sends reads what holds then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals, mirror_changes, mirror_partitions, mirrors, partition_writes

NAME = "dynamodb"
"""Of the one mirror that there is."""

LONGEST_ERROR = 500


class ChangeKind(StrEnum):
    """Of what has changed."""

    SIGNAL = "signal"
    PARTITION = "partition"


@dataclass(frozen=True)
class Change:
    """Something that the mirror does not show yet. `item`: id of a signal, or asset of a partition."""

    change_id: int
    kind: ChangeKind
    item: str
    hour_ms: int


@dataclass(frozen=True)
class MirrorState:
    """How the mirror stands. Times are UTC ms of the local clock.

    Attributes:
        sent: items put or deleted since it was begun.
        failures: rounds that failed since the last that did not; `error` is of the last of them.
        waiting: changes that it does not show yet.
    """

    account: str
    since_wall_ms: int
    sent: int
    failures: int
    error: str | None
    last_sent_wall_ms: int | None
    waiting: int


def state(database: Database) -> MirrorState | None:
    """Return how the mirror stands; None where it is off."""
    with database.read() as connection:
        row = connection.execute(sa.select(mirrors).where(mirrors.c.name == NAME)).mappings().one_or_none()
        if row is None:
            return None
        waiting = connection.execute(sa.select(sa.func.count()).select_from(mirror_changes)).scalar_one()
    held = {name: value for name, value in row.items() if name != "name"}
    return MirrorState(**held, waiting=waiting)


def begin(database: Database, account: str, *, wall_ms: int, signals_since_ms: int, hours_since_ms: int) -> bool:
    """Switch the mirror on, and note what it is to show from the start. Return False where it was on already.

    Args:
        account: whose signals it shows. Where it showed another's, it begins anew.
        signals_since_ms: signals that were made since, UTC ms.
        hours_since_ms: hours that began since, UTC ms.
    """
    with database.write(one_at_a_time="mirror") as connection:
        held = connection.execute(sa.select(mirrors.c.account).where(mirrors.c.name == NAME)).scalar_one_or_none()
        if held == account:
            return False
        connection.execute(sa.delete(mirrors))
        values = {"name": NAME, "account": account, "since_wall_ms": wall_ms, "sent": 0, "failures": 0}
        connection.execute(sa.insert(mirrors).values(**values))
        _note_all(connection, account, signals_since_ms, hours_since_ms)
    return True


def note_all(database: Database, account: str, *, signals_since_ms: int, hours_since_ms: int) -> int:
    """Note everything as changed that the mirror is to show. Return how many changes wait now."""
    with database.write(one_at_a_time="mirror") as connection:
        _note_all(connection, account, signals_since_ms, hours_since_ms)
        return int(connection.execute(sa.select(sa.func.count()).select_from(mirror_changes)).scalar_one())


def note(database: Database, change: Change) -> None:
    """Note something as changed, where it is not noted already."""
    row = {"kind": change.kind.value, "item": change.item, "hour_ms": change.hour_ms}
    same = sa.select(mirror_changes.c.change_id).where(*(mirror_changes.c[name] == row[name] for name in row))
    with database.write(one_at_a_time="mirror") as connection:
        if connection.execute(same).first() is None:
            connection.execute(sa.insert(mirror_changes).values(**row))


def end(database: Database) -> bool:
    """Switch the mirror off: nothing is noted any more, and what waits is forgotten. Return whether it was on."""
    with database.write(one_at_a_time="mirror") as connection:
        was_on = connection.execute(sa.delete(mirrors)).rowcount > 0
        connection.execute(sa.delete(mirror_changes))
        connection.execute(sa.delete(mirror_partitions))
    return was_on


def oldest(database: Database, limit: int) -> list[Change]:
    """Return changes that the mirror does not show yet: signals first, each kind in the order of writing."""
    is_signal = sa.case((mirror_changes.c.kind == ChangeKind.SIGNAL.value, 0), else_=1)
    statement = sa.select(mirror_changes).order_by(is_signal, mirror_changes.c.change_id).limit(limit)
    with database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    return [Change(row["change_id"], ChangeKind(row["kind"]), row["item"], row["hour_ms"]) for row in rows]


def signals_beside(database: Database, account: str, signal_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return an account's signals of these ids, and those of the same coin and bar close as one of them."""
    same = entry_signals.alias()
    statement = (
        sa.select(entry_signals)
        .where(
            entry_signals.c.account == account,
            sa.exists().where(
                same.c.signal_id.in_(list(signal_ids)),
                same.c.account == account,
                same.c.symbol == entry_signals.c.symbol,
                same.c.signal_timestamp_ms == entry_signals.c.signal_timestamp_ms,
            ),
        )
        .order_by(entry_signals.c.signal_id)
    )
    with database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def signals_since(database: Database, account: str, time_ms: int) -> list[dict[str, Any]]:
    """Return an account's signals that were made at or after a time."""
    statement = sa.select(entry_signals).where(
        entry_signals.c.account == account, entry_signals.c.created_at_ms >= time_ms
    )
    with database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def partitions_since(database: Database, hour_ms: int) -> list[tuple[str, int]]:
    """Return asset and hour of the partitions that a mirror shows and that began at or after an hour."""
    with database.read() as connection:
        return [(str(row.asset), int(row.hour_ms)) for row in connection.execute(_partitions(hour_ms))]


def waiting_keys(database: Database) -> set[tuple[str, int]]:
    """Return item and hour of every change that waits."""
    with database.read() as connection:
        rows = connection.execute(sa.select(mirror_changes.c.item, mirror_changes.c.hour_ms)).all()
    return {(str(row.item), int(row.hour_ms)) for row in rows}


def mark_sent(database: Database, changes: Sequence[Change], *, items: int, wall_ms: int) -> None:
    """Forget changes that the mirror shows. One that happened again since has another number, and stays."""
    with database.write() as connection:
        _forget(connection, changes)
        connection.execute(_sent(items, wall_ms))


def partition_keys(database: Database, change: Change) -> list[list[str]]:
    """Return the keys of the items that the mirror may hold of a partition."""
    found = sa.select(mirror_partitions.c["keys"]).where(*_is(change))
    with database.read() as connection:
        text = connection.execute(found).scalar_one_or_none()
    return [] if text is None else [list(key) for key in json.loads(text)]


def keep_partition_keys(database: Database, change: Change, keys: Sequence[Sequence[str]]) -> None:
    """Record the keys that the mirror may hold of a partition from now on."""
    with database.write() as connection:
        _keep_keys(connection, change, keys)


def mark_partition_sent(
    database: Database, change: Change, keys: Sequence[Sequence[str]], *, items: int, wall_ms: int
) -> None:
    """Forget a change of a partition, and record which items the mirror holds of it."""
    with database.write() as connection:
        _forget(connection, [change])
        _keep_keys(connection, change, keys)
        connection.execute(_sent(items, wall_ms))


def mark_failed(database: Database, error: str) -> None:
    """Record that a round failed, and why."""
    values = {"failures": mirrors.c.failures + 1, "error": error[:LONGEST_ERROR]}
    with database.write() as connection:
        connection.execute(sa.update(mirrors).where(mirrors.c.name == NAME).values(**values))


def forget_partitions_before(database: Database, hour_ms: int) -> None:
    """Forget which items there are of hours before: they have gone by themselves."""
    with database.write() as connection:
        connection.execute(sa.delete(mirror_partitions).where(mirror_partitions.c.hour_ms < hour_ms))


def _note_all(connection: sa.Connection, account: str, signals_since_ms: int, hours_since_ms: int) -> None:
    signals = sa.select(entry_signals.c.signal_id).where(
        entry_signals.c.account == account, entry_signals.c.created_at_ms >= signals_since_ms
    )
    partitions = _partitions(hours_since_ms)
    news = [
        *((ChangeKind.SIGNAL.value, str(row.signal_id), 0) for row in connection.execute(signals)),
        *((ChangeKind.PARTITION.value, str(row.asset), int(row.hour_ms)) for row in connection.execute(partitions)),
    ]
    held = {
        (str(row.kind), str(row.item), int(row.hour_ms))
        for row in connection.execute(sa.select(mirror_changes.c.kind, mirror_changes.c.item, mirror_changes.c.hour_ms))
    }
    rows = [dict(zip(("kind", "item", "hour_ms"), one, strict=True)) for one in news if one not in held]
    if rows:
        connection.execute(sa.insert(mirror_changes), rows)


def _partitions(since_ms: int) -> sa.Select[tuple[str, int]]:
    return sa.select(partition_writes.c.asset, partition_writes.c.hour_ms).where(
        partition_writes.c.hour_ms >= since_ms,
        partition_writes.c.asset.in_(("market_scan", "strategy_selections"))
        | partition_writes.c.asset.startswith("backtest_results/", autoescape=True),
    )


def _forget(connection: sa.Connection, changes: Sequence[Change]) -> None:
    ids = [{"one": change.change_id} for change in changes]
    if ids:
        connection.execute(sa.delete(mirror_changes).where(mirror_changes.c.change_id == sa.bindparam("one")), ids)


def _keep_keys(connection: sa.Connection, change: Change, keys: Sequence[Sequence[str]]) -> None:
    connection.execute(sa.delete(mirror_partitions).where(*_is(change)))
    if keys:
        text = json.dumps([list(key) for key in keys], separators=(",", ":"))
        connection.execute(sa.insert(mirror_partitions).values(asset=change.item, hour_ms=change.hour_ms, keys=text))


def _is(change: Change) -> tuple[sa.ColumnElement[bool], ...]:
    return mirror_partitions.c.asset == change.item, mirror_partitions.c.hour_ms == change.hour_ms


def _sent(items: int, wall_ms: int) -> sa.Update:
    values = {"sent": mirrors.c.sent + items, "failures": 0, "error": None, "last_sent_wall_ms": wall_ms}
    return sa.update(mirrors).where(mirrors.c.name == NAME).values(**values)
