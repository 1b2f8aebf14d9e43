"""Settings and flags that people have changed while the system runs: rows that are only added. No decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import live_changes as table

ALL = ""
"""The account of a change that holds for all accounts."""

LOCK = "live changes"
"""Versions are committed in their order: who has seen one has seen all before it."""


class ChangeKind(StrEnum):
    """What was changed."""

    SETTING = "setting"
    FLAG = "flag"
    ACCOUNT = "account"


@dataclass(frozen=True)
class Entry:
    """One change.

    Attributes:
        version: its number; 0 before it is written.
        account: whose; `ALL` for every account.
        value: its text; None: it is given up, and holds as environment and file say.
    """

    kind: ChangeKind
    account: str
    name: str
    value: str | None
    actor: str
    reason: str
    time_wall_ms: int
    version: int = 0


def version(connection: sa.Connection) -> int:
    """Return the number of the newest change; 0 before the first."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.version), 0))).scalar_one())


def add(connection: sa.Connection, *entries: Entry) -> int:
    """Add changes inside a transaction that holds `LOCK`. Return the version afterwards."""
    for entry in entries:
        values = {name: value for name, value in vars(entry).items() if name != "version"}
        connection.execute(sa.insert(table).values(values | {"kind": entry.kind.value}))
    return version(connection)


def in_force(connection: sa.Connection, kind: ChangeKind, account: str) -> Mapping[str, Entry]:
    """Return the newest change of each name of an account, or of `ALL`, those apart that were given up."""
    newest = (
        sa.select(sa.func.max(table.c.version))
        .where(table.c.kind == kind.value, table.c.account == account)
        .group_by(table.c.name)
    )
    rows = connection.execute(sa.select(table).where(table.c.version.in_(newest))).mappings()
    return {str(row["name"]): _entry(row) for row in rows if row["value"] is not None}


def history(database: Database, kind: ChangeKind, name: str | None, account: str | None, limit: int) -> list[Entry]:
    """Return changes, the newest first; of every name and account unless one is given."""
    wanted = sa.select(table).where(table.c.kind == kind.value).order_by(table.c.version.desc()).limit(limit)
    if name is not None:
        wanted = wanted.where(table.c.name == name)
    if account is not None:
        wanted = wanted.where(table.c.account == account)
    with database.read() as connection:
        return [_entry(row) for row in connection.execute(wanted).mappings()]


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(
        kind=ChangeKind(row["kind"]),
        account=str(row["account"]),
        name=str(row["name"]),
        value=row["value"],
        actor=str(row["actor"]),
        reason=str(row["reason"]),
        time_wall_ms=int(row["time_wall_ms"]),
        version=int(row["version"]),
    )
