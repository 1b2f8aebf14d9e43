"""A day of a grid on the embedded exchange, and its backtest over the candles of that day.

Live answers each fill within seconds. A backtest over candles of a minute counts what the candles prove. So levels may
differ where the last close lies within them, and live may have had more round trips, never fewer.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pytest

from trading_assets.core.models import Side
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe, floor_ms
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.simulator.market.base import HIGH, LOW
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.trading.grid.accounting import Accounts
from trading_assets.trading.grid.bars import bars_of
from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing
from trading_assets.trading.grid.simulation import GridCosts, GridResult, simulate
from trading_assets.trading.parity.plans import compare_plans
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, Stage, stage_of, stage_on

D = Decimal
Name = tuple[str, Side, Decimal | None]
START_MS = 1_772_323_200_000 + 57 * HOUR_MS
COSTS = GridCosts(D("0.0002"), D("0.00055"), D("0.0002"))
MOST_APART = D("0.5")
"""USD: slippage of the first orders, and the fee of a level's end."""


A_DAY = Plan(
    symbol=SYMBOL,
    kind=Kind.NEUTRAL,
    spacing=Spacing.GEOMETRIC,
    low=D("0.99"),
    high=D("1.01"),
    levels=15,
    capital=D(500),
    leverage=D(5),
    stop_low=D("0.9"),
    stop_high=D("1.1"),
)
"""Its prices are shares of the price at the start."""


HOURS = int(os.environ.get("TEST_GRID_HOURS", "3"))
"""A whole day, 24, takes minutes of CPU for each kind."""


@pytest.mark.slow
@pytest.mark.timeout(200 * HOURS)
@pytest.mark.parametrize("kind", [Kind.NEUTRAL, Kind.LONG, Kind.SHORT])
def test_live_is_the_backtest_of_its_day(sqlite: Database, kind: Kind) -> None:
    market, end_ms = SeededMarket(7, 5), START_MS + HOURS * HOUR_MS
    with stage_of(sqlite, market, START_MS) as stage:
        price = stage.exchange.ticker(SYMBOL).last
        plan = replace(
            A_DAY,
            kind=kind,
            low=price * A_DAY.low,
            high=price * A_DAY.high,
            stop_low=None if kind is Kind.SHORT else price * D("0.9"),
            stop_high=None if kind is Kind.LONG else price * D("1.1"),
        )
        stage.start(plan)
        _live(stage, market, end_ms)
        live, found, close = _both(stage, plan, START_MS, end_ms)
        assert (_simulated(found) - _fills(live)).total() <= 1, "the level in which the price is may be open"
        lived, simulated = live.sums(close), found.figures
        assert lived.round_trips >= simulated.round_trips > 0
        assert abs(lived.inventory - simulated.inventory) <= found.levels[0].qty
        assert lived.total >= simulated.total - MOST_APART
        days = range(floor_ms(START_MS, DAY_MS), end_ms, DAY_MS)
        rows = pd.concat([_compared(stage, sqlite, day, end_ms) for day in days], ignore_index=True)
        LIVE_PARITY.model.validate(rows, lazy=True)
        assert rows["explained"].all(), rows[rows["explained"] == 0]["reason"].tolist()
        assert rows["live"].sum() == len({row.order_id for row in live.rows})


def _compared(stage: Stage, database: Database, day_ms: int, end_ms: int) -> pd.DataFrame:
    """The parity of a day's fills, on what is known at the end."""
    return compare_plans(
        day_ms,
        database,
        settings=stage.context.settings,
        instruments={one.symbol: one for one in stage.exchange.instruments()},
        load_held=lambda symbol, timeframe, close_ms: stage.exchange.candles(
            symbol, timeframe, close_ms - timeframe.ms, end_ms
        ),
    )


STRAIGHT = {
    "to and fro": (Kind.NEUTRAL, [100_000, 97_500, 100_500, 98_500, 102_500, 102_500, 99_500], OutOfRange.WAIT),
    "up from inventory": (Kind.LONG, [100_000, 102_500, 97_500, 99_500], OutOfRange.WAIT),
    "down from inventory": (Kind.SHORT, [100_000, 97_500, 102_500, 100_500], OutOfRange.WAIT),
    "beyond the bounds": (Kind.NEUTRAL, [100_000, 106_000, 100_500, 94_500, 98_500], OutOfRange.WAIT),
    "after the price": (Kind.NEUTRAL, [100_000, 105_900, 104_000, 106_500, 103_500], OutOfRange.RECENTRE),
    "to the end": (Kind.NEUTRAL, [100_000, 105_900, 104_000], OutOfRange.STOP),
    "through the stop": (Kind.NEUTRAL, [100_000, 97_000, 92_000, 95_000], OutOfRange.WAIT),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRAIGHT)
def test_live_is_the_backtest_where_each_minute_runs_straight(sqlite: Database, name: str) -> None:
    """Such a minute leaves nothing open: both have the same fills."""
    kind, prices, rule = STRAIGHT[name]
    plan = replace(
        A_PLAN,
        kind=kind,
        out_of_range=rule,
        stop_low=None if kind is Kind.SHORT else D(93_000),
        stop_high=None if kind is Kind.LONG else D(112_000),
    )
    with stage_on(sqlite, *map(float, prices)) as stage:
        stage.start(plan)
        for _ in prices[1:]:
            stage.after(1)
        live, found, close = _both(stage, plan, T0, T0 + (len(prices) - 1) * MINUTE_MS)
        assert _fills(live) == _simulated(found)
        assert live.sums(close).inventory == found.figures.inventory
        assert live.sums(close).round_trips == found.figures.round_trips
        if not any(fill.purpose == grids.OPEN and not fill.is_maker for fill in found.fills):
            assert live.sums(close).grid_profit == found.figures.grid_profit


def _live(stage: Stage, market: SeededMarket, end_ms: int) -> None:
    """Let the time pass; where a minute reaches an order it is looked after every second, else at its end."""
    while (now := stage.running.now_ms()) < end_ms:
        prices = stage.ladder()
        (bar,) = market.bars(SYMBOL, "1", now, now + MINUTE_MS, now + MINUTE_MS)
        high, low = float(bar[HIGH]), float(bar[LOW])
        quiet = all(low >= price if side == "Buy" else high <= price for price, side in prices)
        for _ in range(1 if quiet else 30):
            stage.advance(1 if quiet else 1 / 30)
            if not quiet:
                stage.maintain()
        if quiet:
            stage.maintain()


def _both(stage: Stage, plan: Plan, start_ms: int, end_ms: int) -> tuple[Accounts, GridResult, Decimal]:
    """What live and the backtest of its candles came to, in the same state, and the last close."""
    rules = stage.context.contracts.get(stage.exchange, {SYMBOL}, stage.wall)[SYMBOL]
    candles = stage.exchange.candles(SYMBOL, Timeframe.M1, start_ms - MINUTE_MS, end_ms)
    paid = stage.exchange.funding(SYMBOL, start_ms, end_ms + 1)
    live, grid = stage.accounts(), stage.grid()
    qty = max(order.qty for order in live.orders if order.purpose == grids.OPEN)
    found = simulate(plan, bars_of(candles), rules, COSTS, paid, qty=qty)
    assert (found.state, len(found.bounds)) == (grid.state, grid.generation)
    return live, found, D(repr(float(candles.close[-1])))


def _fills(live: Accounts) -> Counter[Name]:
    """By purpose, side and price; orders at the market slip, and have none."""
    orders = {order.order_link_id: order for order in live.orders}
    rows = {row.order_link_id: row for row in live.rows}
    named = Counter[Name]()
    for link, row in rows.items():
        is_maker = row.fee <= row.value * COSTS.maker
        named[orders[link].purpose, row.side, row.price if is_maker else None] += 1
    return named


def _simulated(found: GridResult) -> Counter[Name]:
    return Counter((fill.purpose, fill.side, fill.price if fill.is_maker else None) for fill in found.fills)
