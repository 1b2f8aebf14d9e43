"""Compares the mirror with the ledger, item by item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading_assets.ledger import mirror
from trading_assets.ledger.database import Database
from trading_assets.mirror.dynamodb import KEYS, DynamoDb, MirrorTable
from trading_assets.mirror.items import (
    BACKTEST_LIVES_MS,
    VERSION,
    Item,
    is_past,
    position_item,
    position_key,
    shown_position,
)
from trading_assets.mirror.sender import SIGNALS_BACK_MS, partition_items, table_of

Key = tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """An item that is not as the ledger has it. `what`: missing, surplus, or the attributes that differ."""

    table: MirrorTable
    key: Key
    what: str

    def __str__(self) -> str:
        return f"{self.table}: {' '.join(self.key)}: {self.what}"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        compared: items of each table that the ledger has and that are not past.
        waiting: changes that were not sent yet; items of them may differ.
    """

    compared: dict[MirrorTable, int]
    differences: list[Difference]
    waiting: int


def compare(
    database: Database,
    store: DynamoDb,
    account: str,
    now_ms: Callable[[], int],
    progress: Callable[[str], None] = lambda _text: None,
) -> Comparison:
    """Compare every item that is not past. Read-only.

    Args:
        progress: told what is read.

    Raises:
        MirrorUnavailableError: DynamoDB cannot be read.
    """
    found = {}
    for table in MirrorTable:
        progress(f"reading {store.names.of[table]}")
        found[table] = {_key(table, item): item for item in store.items(table)}
    progress("reading the ledger")
    expected = _expected(database, account, now_ms())
    waiting = len(mirror.waiting_keys(database))
    # By the clock after all reads: what became past meanwhile is compared in neither.
    moment = now_ms()
    differences: list[Difference] = []
    for table in MirrorTable:
        wanted = {key: item for key, item in expected[table].items() if not is_past(item, moment)}
        for key in sorted(wanted.keys() | found[table].keys()):
            held = found[table].get(key)
            if key not in wanted:
                if held is not None and not is_past(held, moment) and key not in expected[table]:
                    differences.append(Difference(table, key, "surplus: the ledger has no such row"))
            elif held is None:
                differences.append(Difference(table, key, "missing"))
            elif changed := _changed(wanted[key], held):
                differences.append(Difference(table, key, changed))
    compared = {table: sum(not is_past(item, moment) for item in expected[table].values()) for table in MirrorTable}
    return Comparison(compared, differences, waiting)


def _expected(database: Database, account: str, now_ms: int) -> dict[MirrorTable, dict[Key, Item]]:
    found: dict[MirrorTable, dict[Key, Item]] = {table: {} for table in MirrorTable}
    by_key: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in mirror.signals_since(database, account, now_ms - SIGNALS_BACK_MS):
        by_key.setdefault(position_key(row), []).append(row)
    for rows in by_key.values():
        item = position_item(shown_position(rows))
        found[MirrorTable.POSITIONS][_key(MirrorTable.POSITIONS, item)] = item
    for asset, hour_ms in mirror.partitions_since(database, now_ms - BACKTEST_LIVES_MS):
        for item in partition_items(database, asset, hour_ms):
            found[table_of(asset)][_key(table_of(asset), item)] = item
    return found


def _key(table: MirrorTable, item: Item) -> Key:
    return tuple(str(item[name]) for name in KEYS[table])


def _changed(wanted: Item, held: Item) -> str:
    names = sorted((wanted.keys() | held.keys()) - {VERSION})
    return "; ".join(
        f"{name} is {held.get(name)!s}, expected {wanted.get(name)!s}"
        for name in names
        if _plain(wanted.get(name)) != _plain(held.get(name))
    )


def _plain(value: object) -> object:
    """A value without what two texts of one number differ in."""
    if isinstance(value, Decimal):
        return value.normalize()
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value
