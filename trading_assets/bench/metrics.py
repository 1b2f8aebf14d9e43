"""What a scrape of the metrics costs: CPU time, on a ledger of many orders."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from prometheus_client import generate_latest

from trading_assets.accounts import registry as registering
from trading_assets.core.settings import Settings
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import closings, fills, order_events, order_intents
from trading_assets.observability import metrics
from trading_assets.observability.metrics import registry

SCRAPE_EVERY_S = 15.0
SYMBOLS = 600
_STEPS = (orders.INTENT, orders.SUBMITTED, orders.CONFIRMED, orders.CLOSED)


def measure(count: int, scrapes: int, accounts: int = 1) -> dict[str, float]:
    """Scrape a ledger of `count` closed orders on 600 symbols.

    Args:
        accounts: that share the orders.

    Returns:
        CPU seconds of the first scrape and of a later one, the share of a core at a scrape every 15 s, bytes of an
        answer and its number of lines.
    """
    with tempfile.TemporaryDirectory(prefix="trading-assets-metrics-") as folder:
        settings = Settings(_env_file=None, home=Path(folder))
        database = Database(settings.resolved_database_url)
        try:
            names = [settings.account, *(f"account-{number}" for number in range(2, accounts + 1))]
            for name in names[1:]:
                wanted = registering.AccountDraft(name, settings.venue.value, None, {}, {})
                registering.add(database, settings, wanted, actor="bench", reason="bench")
            _fill(database, count, names)
            found = registry(settings, lambda: database)
            metrics.KEPT_S, kept = 0.0, metrics.KEPT_S
            try:
                times = []
                text = b""
                for _ in range(scrapes + 1):
                    began = time.process_time()
                    text = generate_latest(found)
                    times.append(time.process_time() - began)
            finally:
                metrics.KEPT_S = kept
        finally:
            database.close()
    later = sum(times[1:]) / scrapes
    return {
        "orders": count,
        "accounts": accounts,
        "first_cpu_s": times[0],
        "later_cpu_s": later,
        "share_of_core": later / SCRAPE_EVERY_S,
        "bytes": len(text),
        "lines": text.count(b"\n"),
    }


def _fill(database: Database, count: int, accounts: Sequence[str]) -> None:
    base = 1_770_000_000_000
    intents, events, filled, closed = [], [], [], []
    for number in range(count):
        link, symbol, at = f"ta-e-{number}", f"C{number % SYMBOLS}USDT", base + number * 60_000
        side = "Buy" if number % 2 else "Sell"
        account = accounts[number % len(accounts)]
        same = {"account": account, "symbol": symbol, "side": side}
        intents.append(
            {
                **same,
                "order_link_id": link,
                "signal_id": link,
                "qty": 1,
                "stop_loss": 90,
                "take_profit": 120,
                "leverage": 10,
                "status": orders.CLOSED,
                "created_ms": at,
                "updated_ms": at,
                "touched_wall_ms": at,
            }
        )
        events += [
            {"order_link_id": link, "status": status, "time_ms": at + 100 * step} for step, status in enumerate(_STEPS)
        ]
        filled.append(
            {
                **same,
                "exec_id": link,
                "revision": 0,
                "order_id": link,
                "order_link_id": link,
                "exec_type": "Trade",
                "kind": "trade",
                "price": 100,
                "qty": 1,
                "value": 100,
                "fee": Decimal("0.055"),
                "time_ms": at + 200,
            }
        )
        closed.append(
            {
                "account": account,
                "symbol": symbol,
                "order_id": link,
                "position_side": "LONG",
                "reason": "stop",
                "qty": 1,
                "entry_price": 100,
                "exit_price": 101,
                "pnl": 1,
                "fees": Decimal("0.11"),
                "signal_id": link,
                "closed_ms": at + 5_000,
            }
        )
    with database.write() as connection:
        for table, rows in ((order_intents, intents), (order_events, events), (fills, filled), (closings, closed)):
            known = {column.name for column in table.columns}
            connection.execute(table.insert(), [{k: v for k, v in row.items() if k in known} for row in rows])
