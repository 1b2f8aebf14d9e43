"""What the live page shows in tests: an embedded exchange, its ledger, and the page on it. No browser here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.messages import Severity
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, floor_ms, local_ms
from trading_assets.ledger import alarms, leases
from trading_assets.ledger.alarms import Found
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.process_reports import ProcessReport, add, renew
from trading_assets.service.dashboard.app import dashboard_server
from trading_assets.service.dashboard.reader import Reader
from trading_assets.service.web_server import WebServer
from trading_assets.trading.context import trading_lease
from trading_assets_tests.wild_account.scene import Scene

WEEK_MS = 7 * 86_400_000
ENTERED = {"BTCUSDT": True, "ETHUSDT": False, "SOLUSDT": True}
"""Coins, and whether long."""


@contextmanager
def served(settings: Settings, database: Database, reads: Database | None = None) -> Iterator[WebServer]:
    """The page's server in this process.

    Args:
        reads: the reader's ledger; default: the same.
    """
    reader = Reader(settings, lambda: reads or database)
    server = dashboard_server(settings, lambda: database, reader, lambda _: None)
    reader.start()
    server.start()
    try:
        yield server
    finally:
        reader.stop()
        server.stop()
        reader.join()


def lives(scene: Scene) -> None:
    """A session has the lease and reports, as one does every few seconds."""
    gauges = {"venue_ms": float(scene.now_ms()), "heard_wall_ms": float(local_ms())}
    report = ProcessReport("desk:1", scene.settings.account, "session", local_ms() - 4_000_000, local_ms(), {}, gauges)
    if not renew(scene.database, report):
        add(scene.database, report)
        leases.acquire(
            scene.database,
            trading_lease(scene.settings.account),
            "desk:1",
            ttl_ms=WEEK_MS,
            wall_ms=local_ms(),
        )


def trades_for_hours(scene: Scene, hours: int = 3) -> None:
    """Positions are opened and closed, signals refused, an hour selected, an alarm raised: something of everything."""
    for symbol, is_long in ENTERED.items():
        scene.enter(symbol, long=is_long, distance="0.012")
    for number in range(hours * 6):
        scene.passes(1, seconds=600)
        if number == 6:
            scene.enter("XRPUSDT", long=False, distance="0.02")
            scene.enter("DOGEUSDT", distance="0.02")
        if number == 9:
            scene.close_by_hand("XRPUSDT")
    select(scene.database, scene.now_ms())
    scene.signal("ADAUSDT", status="rejected", reason="spread: 0.31 %, at most 0.1 %")
    scene.signal("BNBUSDT", status="rejected", reason="exposure: BNBUSDT would be 31.0 % of equity, at most 30 %")
    scene.signal("AVAXUSDT", long=False, status="expired")
    scene.signal("LINKUSDT")
    alarms.step(
        scene.database,
        scene.settings.account,
        {"disk_low": Found(Severity.WARNING, "4.1% of the home's disk is free")},
        local_ms(),
    )
    lives(scene)


def select(database: Database, now_ms: int) -> None:
    """The hour before is selected."""
    hour = floor_ms(now_ms, HOUR_MS) - HOUR_MS
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "XRPUSDT", "ADAUSDT")
    rows = [
        {**selection_row(hour, symbol, timeframe), "score": 310.5 - 31 * number, "total_trades": 41 - number}
        for number, (symbol, timeframe) in enumerate(zip(symbols, ("5m", "15m", "5m", "60m", "3m", "30m"), strict=True))
    ]
    written = Write("strategy_selections", "466323ab-0000-4000-8000-000000000000", "1", local_ms())
    replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour], written=written)


def page_settings(scene: Scene, home: Path, **changes: object) -> Settings:
    """Those of the scene, with a free port for the page and a home of its own."""
    given = {"dashboard_port": 0, "home": home, "simulator_url": scene.proxy.url, **changes}
    return scene.settings.model_copy(update=given)
