"""Rows of a ledger that a mirror shows, and a mirror of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.schemas import BACKTEST_RESULTS, MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.tables import entry_signals
from trading_assets.mirror.dynamodb import DynamoDb, MirrorTable, TableNames
from trading_assets.mirror.sender import Sender, begin
from trading_assets.mirror.verify import compare
from trading_assets_tests.backtesting.test_selection import GOOD, backtests
from trading_assets_tests.trading.fixtures import add_signal

HOUR = GOOD["hour_ms"]
NOW = int(str(HOUR)) + HOUR_MS + 60_000
NAMES = TableNames({table: f"crypto-backtest-{table}" for table in MirrorTable})


def scan_of(hour_ms: int) -> str:
    """An hour's scan: that of `GOOD` in its hour."""
    return str(GOOD["scan_id"]) if hour_ms == HOUR else f"scan-20260302-{hour_ms // HOUR_MS % 1_000_000:06}"


def write_scan(database: Database, *symbols: str, hour_ms: int = int(str(HOUR)), price: float = 1.5) -> None:
    rows = pd.DataFrame(
        [
            {
                "hour_ms": hour_ms,
                "scan_id": scan_of(hour_ms),
                "symbol": symbol,
                "rank": rank,
                "price": price,
                "volume_24h": 2_000_000.125,
                "price_change_24h": -3.0,
                "volatility_24h": 5.0,
                "size_error_pct": 0.5,
                "max_price": 1e6,
                "timestamp_ms": hour_ms + HOUR_MS,
            }
            for rank, symbol in enumerate(symbols, start=1)
        ]
    )
    replace_partitions(database, MARKET_SCAN, rows, [hour_ms], written=Write("market_scan", "run", "1", NOW))


def write_backtests(database: Database, *changes: dict[str, Any], hour_ms: int = int(str(HOUR))) -> None:
    """Rows of timeframe 15m, and the hour's selection after them, which says that all are there."""
    rows = backtests(*({**change, "hour_ms": hour_ms, "scan_id": scan_of(hour_ms)} for change in changes))
    written = Write("backtest_results/15m", "run", "1", NOW)
    replace_partitions(database, BACKTEST_RESULTS, rows, [hour_ms], {"timeframe": "15m"}, written)
    selected = Write("strategy_selections", "run", "1", NOW)
    replace_partitions(database, STRATEGY_SELECTIONS, STRATEGY_SELECTIONS.empty(), [hour_ms], written=selected)


def signal(database: Database, symbol: str = "BTCUSDT", **changes: Any) -> str:
    """A signal that was made a moment ago."""
    times = {"signal_timestamp_ms": NOW - 60_000, "ttl_ms": NOW + 240_000, "created_at_ms": NOW - 59_000}
    return add_signal(database, symbol, **{**times, **changes})


def change(database: Database, signal_id: str, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(sa.update(entry_signals).where(entry_signals.c.signal_id == signal_id).values(**values))


@dataclass
class Mirror:
    """A mirror and a clock. It sends as one process that has the lease."""

    database: Database
    store: DynamoDb
    now_ms: int = NOW
    rests: list[float] = field(default_factory=list)
    lease: Callable[[], Lease] | None = None

    def sender(self) -> Sender:
        """A new process: the lease is its own."""
        held = leases.acquire(self.database, "serve:mirror", "me", ttl_ms=1, wall_ms=self.now_ms)
        self.now_ms += 2
        assert held is not None
        return Sender(self.database, self.store, "main", self.lease or (lambda: held), self._wait, lambda: self.now_ms)

    def _wait(self, seconds: float) -> bool:
        self.rests.append(seconds)
        return False

    def begin(self) -> None:
        self.store.create()
        assert begin(self.database, "main", self.now_ms)

    def send(self) -> int:
        """Until everything is shown. How many changes were sent."""
        sender, sent = self.sender(), 0
        while done := sender.round():
            sent += done
        return sent

    def differences(self) -> list[str]:
        found = compare(self.database, self.store, "main", lambda: self.now_ms)
        assert found.waiting == 0
        return [str(one) for one in found.differences]

    def items(self, table: MirrorTable) -> list[dict[str, Any]]:
        return sorted(self.store.items(table), key=str)
