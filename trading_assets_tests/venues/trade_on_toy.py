"""Run as a process on a copy of the package that has the toy venue: research, entries and their ends, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trading_assets.venues.toy.server import server

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import switches
from trading_assets.ledger.database import Database
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, scan_hours
from trading_assets.market.store import CandleStore
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange, open_market_data
from trading_assets.venues.keys import require_trading_key
from trading_assets_tests.trading.fixtures import add_signal

COIN = "ETH-USDC-SWAP"


def main(home: Path) -> None:
    settings, venue = load_settings(home=home), server()
    exchange, database = open_exchange(settings), Database(f"sqlite:///{home / 'ledger.db'}")
    told: dict[str, object] = {"key": require_trading_key(exchange).summary, "automation": settings.automation_on}
    told["store"] = settings.candle_store.relative_to(home).as_posix()
    context = ExecutionContext(database, exchange, settings, sleep=lambda _seconds: None)

    hour = floor_ms(venue.now_ms, HOUR_MS) - HOUR_MS
    source, store = open_market_data(settings), CandleStore(settings.candle_store, btc=settings.symbols.btc)
    scan = scan_hours(source, store, [hour], settings)
    told["scanned"], told["dropped"] = sorted(scan.rows["symbol"]), scan.dropped[hour]
    limits = QualityLimits.from_settings(settings)
    covered = fill_candles(source, store, Timeframe.M240, {hour: [COIN]}, [FibonacciBollinger()], limits)
    told["candles"] = sorted(covered["symbol"])

    def enter(minutes: int) -> str:
        venue.now_ms += minutes * 60_000
        at = {"signal_timestamp_ms": venue.now_ms - 5_000, "ttl_ms": venue.now_ms + 295_000}
        at["hour_ms"] = floor_ms(venue.now_ms, HOUR_MS) - HOUR_MS
        levels = {"entry_price": 2000.0, "stop_loss": 1980.0, "take_profit": 2040.0}
        return add_signal(database, COIN, **at, **levels)

    first = enter(0)
    refused = submit_orders(context).refused
    told["at first"] = "trading-assets trading on" in refused[first] and not venue.orders
    switches.set_switch(database, "main", on=True, actor="a person", reason="", wall_ms=0)
    told["executed"] = submit_orders(context).executed == [first]
    held = exchange.position(COIN)
    assert held is not None
    told["position"] = [str(value) for value in (held.side, held.size, held.stop_loss, held.take_profit)]
    told["ids"] = [row["cl"] for row in venue.orders]
    told["entry is known by its id"] = exchange.order_ids.is_entry(venue.orders[0]["cl"])
    told["differences"] = reconcile(context).differences
    told["booked"] = account_ledger.position_rows(database, "main")["symbol"].tolist()

    ends = []
    venue.now_ms += 60_000
    venue.move(COIN, "1979")
    ends += [(row.reason, str(row.signal_id) == first) for row in reconcile(context).new_closings]
    venue.move(COIN, "2000")
    for why in ("liq", "adl"):
        enter(60)
        sent = submit_orders(context)
        assert sent.executed, sent
        venue.now_ms += 60_000
        venue.force_out(COIN, why)
        ends += [(row.reason, row.signal_id is not None) for row in reconcile(context).new_closings]
    told["ends"] = ends
    enter(60)
    sent = submit_orders(context)
    assert sent.executed, sent
    told["flattened"] = str(flatten(context, reason="end of the test", actor="test"))
    told["fills"] = sorted(set(execution_ledger.fill_rows(database, "main")["kind"]))
    json.dump(told, sys.stdout)


main(Path(sys.argv[1]))
