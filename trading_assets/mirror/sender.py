"""Sends what has changed to the mirror: at least once, and never on the way of an order.

A change is a key; what is sent is what the ledger holds then. Sending twice is the same as once. One process sends, by
its lease; what a process that lost it still sends of a position is refused by the version, which begins with the
lease's fence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pandas as pd

from trading_assets.backtesting.exclusions import without_excluded
from trading_assets.core.errors import LeaseLostError
from trading_assets.core.schemas import BACKTEST_RESULTS, MARKET_SCAN
from trading_assets.core.timeframes import HOUR_MS, as_of_ms
from trading_assets.ledger import checks, mirror
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.mirror import Change, ChangeKind
from trading_assets.ledger.partitions import read_partitions
from trading_assets.mirror.dynamodb import KEYS, DynamoDb, MirrorTable, Wait
from trading_assets.mirror.items import (
    BACKTEST_LIVES_MS,
    SCAN_LIVES_MS,
    Item,
    backtest_items,
    is_past,
    position_item,
    position_key,
    scan_items,
    shown_position,
    summary_items,
)

CHANGES_AT_ONCE = 100
_PER_FENCE = 10**15

SIGNALS_BACK_MS = 24 * HOUR_MS
"""How far back signals are sent from the start: longer than any of them lives, or its order waits."""

SCANS, SELECTIONS = "market_scan", "strategy_selections"


def table_of(asset: str) -> MirrorTable:
    """The table that shows an asset's partitions."""
    return MirrorTable.SCANS if asset == SCANS else MirrorTable.BACKTESTS


def lives_ms(asset: str) -> int:
    """How long the mirror shows a partition of an asset, from the end of its hour."""
    return SCAN_LIVES_MS if asset == SCANS else BACKTEST_LIVES_MS


def partition_items(database: Database, asset: str, hour_ms: int) -> list[Item]:
    """What the mirror shows of a partition."""
    if asset == SCANS:
        return scan_items(read_partitions(database, MARKET_SCAN, [hour_ms]))
    if asset == SELECTIONS:
        return summary_items(_selectable(database, hour_ms))
    of_timeframe = {"timeframe": asset.partition("/")[2]}
    return backtest_items(read_partitions(database, BACKTEST_RESULTS, [hour_ms], of_timeframe))


def _selectable(database: Database, hour_ms: int) -> pd.DataFrame:
    rows = read_partitions(database, BACKTEST_RESULTS, [hour_ms])
    return without_excluded(rows, checks.excluded(database, [hour_ms]))


class Sender:
    """Brings the mirror up to date, as long as its process has the lease.

    Args:
        lease: the lease now; raises LeaseLostError where another process has it.
        wait: waits so many seconds; True where the process is to end.
    """

    def __init__(
        self,
        database: Database,
        store: DynamoDb,
        account: str,
        lease: Callable[[], Lease],
        wait: Wait,
        now_ms: Callable[[], int],
    ) -> None:
        self._database, self._store, self._account = database, store, account
        self._lease, self._wait, self._now_ms = lease, wait, now_ms
        self._sent = count(1)
        self._tidied_ms = 0

    def round(self) -> int:
        """Send some of what has changed, signals first. Return how many changes; 0: the mirror shows everything.

        Raises:
            MirrorUnavailableError: DynamoDB does not take it; the change stays.
            LeaseLostError: another process sends now.
        """
        changes = mirror.oldest(self._database, CHANGES_AT_ONCE)
        of_signals = [change for change in changes if change.kind is ChangeKind.SIGNAL]
        if of_signals:
            self._send_signals(of_signals)
            return len(of_signals)
        for change in changes[:1]:
            self._send_partition(change)
            return 1
        self._tidy()
        return 0

    def _send_signals(self, changes: Sequence[Change]) -> None:
        rows = mirror.signals_beside(self._database, self._account, [change.item for change in changes])
        by_key: dict[tuple[str, int], list[dict[str, object]]] = {}
        for row in rows:
            by_key.setdefault(position_key(row), []).append(row)
        sent = sum(self._send_position(position_item(shown_position(same))) for same in by_key.values())
        mirror.mark_sent(self._database, changes, items=sent, wall_ms=self._now_ms())

    def _send_position(self, item: Item) -> bool:
        version = self._lease().fence * _PER_FENCE + next(self._sent)
        past = is_past(item, self._now_ms())
        if self._store.put_newer(item, version, only_where_held=past):
            return True
        if past and self._store.position(item["symbol"], int(item["signal_timestamp"])) is None:
            return False
        # A higher version than this process's: of one that lost its lease to this one, or of a ledger that has been
        # restored since. Whoever has the lease now is right.
        self._lease()
        self._store.put(item, version)
        return True

    def _tidy(self) -> None:
        """Forget, once an hour, what the mirror held of hours whose items have gone by themselves."""
        now_ms = self._now_ms()
        if abs(now_ms - self._tidied_ms) >= HOUR_MS:
            mirror.forget_partitions_before(self._database, now_ms - BACKTEST_LIVES_MS - HOUR_MS)
            self._tidied_ms = now_ms

    def _send_partition(self, change: Change) -> None:
        held = mirror.partition_keys(self._database, change)
        if as_of_ms(change.hour_ms) + lives_ms(change.item) <= self._now_ms():
            mirror.mark_partition_sent(self._database, change, [], items=0, wall_ms=self._now_ms())
            return
        table = table_of(change.item)
        items = partition_items(self._database, change.item, change.hour_ms)
        keys = [[str(item[name]) for name in KEYS[table]] for item in items]
        surplus = [key for key in held if key not in keys]
        # First what may be there: a process that dies between the two leaves nothing that nobody knows of.
        mirror.keep_partition_keys(self._database, change, [*keys, *surplus])
        self._lease()
        sent = self._store.write(table, items, surplus, self._wait)
        try:
            self._lease()
        except LeaseLostError:
            mirror.note(self._database, change)  # another process may have sent newer ones before these arrived
            raise
        mirror.mark_partition_sent(self._database, change, keys, items=sent, wall_ms=self._now_ms())


def begin(database: Database, account: str, now_ms: int) -> bool:
    """Switch the mirror on, with all that it is to show from the start. Return False where it was on already."""
    return mirror.begin(
        database,
        account,
        wall_ms=now_ms,
        signals_since_ms=now_ms - SIGNALS_BACK_MS,
        hours_since_ms=now_ms - BACKTEST_LIVES_MS,
    )


def resync(database: Database, account: str, now_ms: int) -> int:
    """Note everything as changed that the mirror is to show. Return how many changes wait now."""
    return mirror.note_all(
        database,
        account,
        signals_since_ms=now_ms - SIGNALS_BACK_MS,
        hours_since_ms=now_ms - BACKTEST_LIVES_MS,
    )
