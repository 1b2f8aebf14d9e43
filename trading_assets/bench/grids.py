"""Backtests of grids on the seeded market: what a bar costs on which nothing happens, and what a fill costs."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.trading.grid.bars import bars_of
from trading_assets.trading.grid.levels import Kind, OutOfRange, Spacing
from trading_assets.trading.grid.shapes import Bounds, GridShape
from trading_assets.trading.grid.simulation import GridCosts, simulate

START_MS = 1_772_323_200_000
COSTS = GridCosts(Decimal("0.0002"), Decimal("0.00055"), Decimal("0.0002"))


def measure(days: int, levels: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    """Time neutral grids over candles of a minute of three coins; the fastest of `repeat` runs counts.

    They re-centre, so that they live as long as the candles reach.
    """
    market = SeededMarket(7, 10)
    reader, symbols = MarketReader(market), ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    end_ms = START_MS + days * DAY_MS
    found = []
    for number in levels:
        cpu = bars = fills = 0.0
        for symbol in symbols:
            before = reader.read(symbol, Timeframe.M60, START_MS - 200 * HOUR_MS, START_MS)
            shape = GridShape(
                Kind.NEUTRAL, Spacing.GEOMETRIC, Bounds.ATR, number / 2, number, 60.0, OutOfRange.RECENTRE
            )
            plan = shape.plan(symbol, before, Decimal(100_000), Decimal(5))
            rules, funding = reader.instrument(symbol), reader.read_funding(symbol, START_MS, end_ms)
            some = bars_of(reader.read(symbol, Timeframe.M1, START_MS, end_ms))
            times = []
            for _ in range(repeat):
                gc.collect()
                began = time.process_time()
                result = simulate(plan, some, rules, COSTS, funding)
                times.append(time.process_time() - began)
            cpu, bars, fills = cpu + min(times), bars + len(some), fills + len(result.fills)
        found.append(
            {
                "levels": number,
                "bars": int(bars),
                "fills": int(fills),
                "cpu_s": round(cpu, 4),
                "ns_a_bar": round(cpu / bars * 1e9, 1),
                "us_a_fill": round(cpu / max(fills, 1) * 1e6, 1),
            }
        )
    return found


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The figures for a person."""
    shown = Table("levels", "bars", "fills", "CPU s", "ns a bar", "us a fill")
    for row in rows:
        shown.add_row(*(f"{row[name]:,}" for name in ("levels", "bars", "fills", "cpu_s", "ns_a_bar", "us_a_fill")))
    return shown
