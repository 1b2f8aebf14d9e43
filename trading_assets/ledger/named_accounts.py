"""The rows of named accounts: where each is, and its sealed keys. What is in the seal, `accounts.sealing` knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from trading_assets.core.errors import ConflictError
from trading_assets.ledger import live_changes
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ChangeKind, Entry
from trading_assets.ledger.tables import named_accounts as table

IN_LEDGER, NO_KEYS = "ledger", "none"


@dataclass(frozen=True)
class NamedAccount:
    """A row. `sealed` is not in its repr.

    Attributes:
        place: settings that say where the account is, as text by name.
        key_source: `IN_LEDGER`, `NO_KEYS`, or a value of the setting `secrets`.
        sealed_by: which master key has sealed the keys.
    """

    name: str
    venue: str
    place: Mapping[str, str]
    key_source: str
    key_hint: str
    sealed: str | None
    sealed_by: str | None
    added_wall_ms: int

    def __repr__(self) -> str:
        return f"NamedAccount({self.name!r}, {self.venue!r}, keys from {self.key_source})"


def read(connection: sa.Connection, name: str) -> NamedAccount | None:
    """Return an account that is there."""
    wanted = sa.select(table).where(table.c.name == name, table.c.removed_wall_ms.is_(None))
    row = connection.execute(wanted).mappings().one_or_none()
    return _account(row) if row is not None else None


def every(connection: sa.Connection) -> list[NamedAccount]:
    """Return all accounts that are there, by name."""
    rows = connection.execute(sa.select(table).where(table.c.removed_wall_ms.is_(None)).order_by(table.c.name))
    return [_account(row) for row in rows.mappings()]


def listed(database: Database) -> list[NamedAccount]:
    """Return all accounts that are there, by name."""
    with database.read() as connection:
        return every(connection)


def add(connection: sa.Connection, account: NamedAccount, entry: Entry) -> None:
    """Add an account, or one of a name that was removed once, with an entry of its history.

    Raises:
        ConflictError: there is one of this name.
    """
    if read(connection, account.name) is not None:
        raise ConflictError(f"there is an account {account.name!r} already; nothing was written")
    connection.execute(sa.delete(table).where(table.c.name == account.name))
    connection.execute(sa.insert(table).values(vars(account) | {"place": json.dumps(dict(account.place))}))
    live_changes.add(connection, entry)


def replace_keys(connection: sa.Connection, account: NamedAccount, entry: Entry) -> None:
    """Store other keys of an account, with an entry of its history."""
    _reseal(connection, account)
    live_changes.add(connection, entry)


def reseal(connection: sa.Connection, account: NamedAccount) -> None:
    """Store the same keys under another master key."""
    _reseal(connection, account)


def remove(connection: sa.Connection, name: str, entry: Entry) -> None:
    """Forget an account's keys and take it off the list; the rows of what it did stay."""
    gone = {"removed_wall_ms": entry.time_wall_ms, "sealed": None, "sealed_by": None, "key_source": NO_KEYS}
    connection.execute(sa.update(table).where(table.c.name == name).values(gone | {"key_hint": ""}))
    live_changes.add(connection, entry)


def told(account: str, what: str, value: str, *, actor: str, reason: str, wall_ms: int) -> Entry:
    """An entry of an account's history."""
    return Entry(ChangeKind.ACCOUNT, account, what, value, actor, reason, wall_ms)


def sealed_as(account: NamedAccount, source: str, hint: str, sealed: str | None, by: str | None) -> NamedAccount:
    """The account with other keys."""
    return replace(account, key_source=source, key_hint=hint, sealed=sealed, sealed_by=by)


def _reseal(connection: sa.Connection, account: NamedAccount) -> None:
    names = ("key_source", "key_hint", "sealed", "sealed_by")
    values = {name: getattr(account, name) for name in names}
    connection.execute(sa.update(table).where(table.c.name == account.name).values(values))


def _account(row: sa.RowMapping) -> NamedAccount:
    return NamedAccount(
        name=str(row["name"]),
        venue=str(row["venue"]),
        place=dict(json.loads(row["place"])),
        key_source=str(row["key_source"]),
        key_hint=str(row["key_hint"]),
        sealed=row["sealed"],
        sealed_by=row["sealed_by"],
        added_wall_ms=int(row["added_wall_ms"]),
    )
