"""Sources for tests of research: the seeded market of the other tests, and a home with selections of some hours."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from trading_assets.core.schemas import MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.store import CandleStore
from trading_assets.research import Market, seeded
from trading_assets.research.sources import Home
from trading_assets_tests.reporting.fixtures import HOUR, SeededSource, market, settings
from trading_assets_tests.reporting.test_build import selection_rows


@cache
def a_market() -> Market:
    """The seeded market as of an hour of the other tests."""
    return seeded(7, 12, now=as_of_ms(HOUR))


def scan_rows(hours: int, max_price: float = 1e9) -> pd.DataFrame:
    """Scans of two coins, as far as research reads them."""
    zeros = dict.fromkeys(MARKET_SCAN.columns, 0)
    return pd.DataFrame(
        [
            {**zeros, "hour_ms": HOUR + number * HOUR_MS, "symbol": symbol, "max_price": max_price, "rank": rank}
            for number in range(hours)
            for rank, symbol in enumerate(("ETHUSDT", "SOLUSDT"), start=1)
        ]
    )


def a_home(database: Database, path: Path, hours: int = 6, *, fetch: bool = True, **changes: Any) -> Home:
    """A home whose hours have a selection of four coins each; candles come from the seeded market on demand."""
    path.mkdir(parents=True, exist_ok=True)
    every = [HOUR + number * HOUR_MS for number in range(hours)]
    replace_partitions(database, STRATEGY_SELECTIONS, selection_rows(hours), every)
    source: Any = SeededSource(as_of_ms(HOUR) + (hours + 2) * HOUR_MS)
    held = settings(home=path, **changes)
    return Home(held, database, CandleStore(held.candle_store), source if fetch else None)


def stored(home: Home, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> None:
    """Put a range of the seeded market into a home's store."""
    source: Any = SeededSource(end_ms + HOUR_MS, market())
    home.store.fill(source, symbol, timeframe, start_ms, end_ms)
    home.store.fill_funding(source, symbol, start_ms, end_ms)
