"""The account on disk: one SQLite file (WAL), every change committed before the answer leaves. No decisions.

Records are stored whole, as JSON; tables exist so that only what changed is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.private_files import private_file, private_folder
from trading_assets.simulator.account.models import (
    Balance,
    ClosedPnl,
    Execution,
    Header,
    Order,
    Position,
    Transfer,
)
from trading_assets.simulator.account.state import AccountState, Record
from trading_assets.simulator.clock import ClockPosition

FORMAT = "1"
LIVE = "live"
"""The kind of a market that another exchange tells; its content is that exchange's market."""

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4000
"""16 MB of log."""


@dataclass(frozen=True)
class MarketIdentity:
    """The market that an account belongs to; `content` names what a replay plays."""

    kind: str
    seed: int
    symbols: int
    content: str = ""


@dataclass(frozen=True)
class _Table:
    name: str
    adapter: TypeAdapter[Any]
    key: Callable[[Any], str]


_TABLES: dict[type, _Table] = {
    Order: _Table("orders", TypeAdapter(Order), lambda record: record.order_id),
    Execution: _Table("executions", TypeAdapter(Execution), lambda record: record.exec_id),
    ClosedPnl: _Table("closed_pnl", TypeAdapter(ClosedPnl), lambda record: str(record.sequence)),
    Position: _Table("positions", TypeAdapter(Position), lambda record: record.key),
    Balance: _Table("balances", TypeAdapter(Balance), lambda record: record.coin),
    Transfer: _Table("transfers", TypeAdapter(Transfer), lambda record: record.transfer_id),
}
_HEADER = TypeAdapter(Header)
_CLOCK = TypeAdapter(ClockPosition)
_IDENTITY = TypeAdapter(MarketIdentity)


class AccountStore:
    """The account in the file `path`; in memory only when it is None."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            if path is not None:
                private_folder(path.parent)
                private_file(path)  # SQLite gives its other files the same mode
            self._db = sqlite3.connect(
                str(self.path or ":memory:"),
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # A checkpoint costs 5 to 30 ms; at the default of 1000 pages one order of a hundred waits for it.
            self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            self._db.execute("CREATE TABLE IF NOT EXISTS header (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            self._db.execute("CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            for table in _TABLES.values():
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table.name} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except (sqlite3.Error, OSError) as error:
            raise self._failure("opened", error) from error

    def load(self, identity: MarketIdentity) -> tuple[AccountState, ClockPosition] | None:
        """The stored account and its clock, or None where there is none yet.

        Raises:
            ConfigurationError: it belongs to another market or was written by another version.
            StorageError: the file cannot be read.
        """
        try:
            header = dict(self._db.execute("SELECT name, value FROM header").fetchall())
            if not header:
                return None
            self._check(header, identity)
            state = AccountState(_HEADER.validate_json(header["account"]))
            state.orders = {order.order_id: order for order in self._records(Order)}
            state.links = {o.order_link_id: o.order_id for o in state.orders.values() if o.order_link_id}
            state.open_orders = {o.order_id: o for o in state.orders.values() if o.is_open}
            state.positions = {position.key: position for position in self._records(Position)}
            state.balances = {balance.coin: balance for balance in self._records(Balance)}
            state.executions = sorted(self._records(Execution), key=lambda row: row.sequence)
            state.transfers = sorted(self._records(Transfer), key=lambda row: row.sequence)
            state.closed = sorted(self._records(ClosedPnl), key=lambda row: row.sequence)
            state.closed_by = {row.order_id: row for row in state.closed}
            return state, _CLOCK.validate_json(header["clock"])
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise self._failure("read", error) from error

    def save(self, state: AccountState, clock: ClockPosition, identity: MarketIdentity | None = None) -> None:
        """Write what changed in one transaction; `identity` only with a new account.

        Raises:
            StorageError: nothing was written, and `state.changed` still holds it.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for kind, table in _TABLES.items():
                    rows = [_row(table, record) for record in state.changed.values() if isinstance(record, kind)]
                    if rows:
                        self._db.executemany(
                            f"INSERT INTO {table.name} VALUES (?, ?) "
                            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                            rows,
                        )
                header = [("account", _HEADER.dump_json(state.header)), ("clock", _CLOCK.dump_json(clock))]
                if identity is not None:
                    header += [("format", FORMAT.encode()), ("market", _IDENTITY.dump_json(identity))]
                self._db.executemany(
                    "INSERT INTO header VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    [(name, value.decode()) for name, value in header],
                )
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failure("written", error) from error
        state.changed.clear()

    def note(self, name: str, text: str) -> None:
        """Keep a text beside the account.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._db.execute(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, text)
            )
        except sqlite3.Error as error:
            raise self._failure("written", error) from error

    def noted(self, name: str) -> str | None:
        """The text of this name, None where there is none.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            found = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure("read", error) from error
        return str(found[0]) if found is not None else None

    def close(self) -> None:
        self._db.close()

    def _records(self, kind: type[Any]) -> list[Any]:
        table = _TABLES[kind]
        rows = self._db.execute(f"SELECT value FROM {table.name} ORDER BY rowid").fetchall()
        return [table.adapter.validate_json(value) for (value,) in rows]

    def _check(self, header: dict[str, str], identity: MarketIdentity) -> None:
        place = self.path or "memory"
        advice = f"move {place} away to begin a new account, or choose another home"
        if header.get("format") != FORMAT:
            raise ConfigurationError(
                f"the account in {place} has format {header.get('format')!r}, this version reads {FORMAT!r}: {advice}"
            )
        stored = _IDENTITY.validate_json(header["market"])
        if stored != identity:
            raise ConfigurationError(
                f"the account in {place} belongs to the {_spelled(stored)}, asked for is the {_spelled(identity)}: "
                f"ask for the stored one, {advice}"
            )

    def _failure(self, what: str, error: Exception) -> StorageError:
        return StorageError(
            f"the embedded exchange's account in {self.path or 'memory'} cannot be {what}: {error}. "
            "Check permissions and free space of the directory"
        )


def _spelled(market: MarketIdentity) -> str:
    if market.kind == LIVE:
        return f"live market {market.content!r}"
    recording = f", recording {market.content}" if market.content else ""
    return f"{market.kind} market of seed {market.seed} with {market.symbols} symbols{recording}"


def _row(table: _Table, record: Record) -> tuple[str, str]:
    return table.key(record), table.adapter.dump_json(record).decode()
