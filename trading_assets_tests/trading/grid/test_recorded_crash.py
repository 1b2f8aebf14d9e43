"""Grids on the recorded crash of 2025-10-10: hard stop, no order beyond the bounds, equal books."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets.trading.grid.levels import Kind
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.trading.grid.stage import A_PLAN, stage_of

D = Decimal
BEFORE_MS = 1_760_126_400_000
"""2025-10-10T20:00:00Z, 75 minutes before the worst candle."""

STEP_MIN = 10

pytestmark = [pytest.mark.recorded, pytest.mark.slow]


@pytest.mark.parametrize("kind", [Kind.NEUTRAL, Kind.LONG])
@pytest.mark.parametrize("symbol", ["ETHUSDT", "APEUSDT"])
def test_a_grid_in_the_crash_of_october_2025(sqlite: Database, symbol: str, kind: Kind) -> None:
    with stage_of(sqlite, ReplayMarket([recorded_data("candles_5m.parquet")]), BEFORE_MS) as stage:
        last = stage.exchange.ticker(symbol).last
        plan = replace(A_PLAN, symbol=symbol, kind=kind, low=last * D("0.96"), high=last * D("1.04"))
        stage.start(plan, stop_low=last * D("0.93"), stop_high=None if kind is Kind.LONG else last * D("1.07"))
        worst = stage.grid(symbol).worst_value
        for _ in range(4 * 60 // STEP_MIN):
            stage.advance(STEP_MIN)
            stage.maintain()
            grid = stage.grid(symbol)
            for row in stage.exchange.open_orders(symbol):
                if row.price and row.trigger_price is None:
                    assert grid.low - D("0.01") * last <= row.price <= grid.high + D("0.01") * last
        grid, accounts = stage.grid(symbol), stage.accounts(symbol)
        assert (grid.state, accounts.inventory, accounts.foreign) == (grids.ENDED, 0, 0)
        assert "stop" in str(grid.reason)
        assert (stage.exchange.position(symbol), stage.exchange.open_orders(symbol)) == (None, ())
        rows = stage.exchange.executions(BEFORE_MS, BEFORE_MS + 5 * HOUR_MS)
        moved = sum(
            ((row.value if row.side is Side.SELL else -row.value) for row in rows if row.kind.moves_position), D(0)
        )
        fees = sum((row.fee for row in rows if row.kind.moves_position), D(0))
        assert accounts.sums(last).total == moved - fees - accounts.funding
        assert accounts.sums(last).total < 0
        assert -accounts.sums(last).total < worst, "it loses less than all that it held"
