"""A plan that ran on the embedded exchange, and the backtest of the same plan on the candles of that time."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.simulator.market.base import HIGH, LOW
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.trading.dca.backtest import Assumptions, simulate
from trading_assets.trading.dca.books import Whose
from trading_assets.trading.dca.plans import Plan
from trading_assets.trading.parity.plans import compare_plans
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, Stage, stage_of, stage_on

D = Decimal
PLAN = replace(
    A_PLAN, schedule="every 7m", safety_orders=3, safety_step_pct=D(1), target_pct=D(1), stop_pct=D(6), grace_s=60
)


def live_fills(stage: Stage) -> list[tuple[str, int, Decimal, Decimal]]:
    """What each order has filled: its purpose, minute, average price and quantity."""
    accounts = stage.accounts()
    purposes = {order.order_link_id: order.purpose for order in accounts.orders}
    found: dict[str, list[tuple[str, int, Decimal, Decimal]]] = {}
    for whose, fill in accounts.fills:
        what = {Whose.TARGET: dca.TARGET, Whose.VENUE: "stop"}.get(whose) or purposes[fill.order_link_id]
        minute = (fill.time_ms - T0) // MINUTE
        found.setdefault(fill.order_id, []).append((what, minute, fill.value, fill.qty))
    merged = []
    for rows in found.values():
        qty = sum((row[3] for row in rows), D(0))
        merged.append((rows[0][0], rows[-1][1], sum((row[2] for row in rows), D(0)) / qty, qty))
    return merged


DAY_MS_OF_STAGE = 1_772_323_200_000 + 2 * DAY_MS
A_DAY = replace(
    A_PLAN,
    schedule="every 47m",
    safety_orders=2,
    safety_step_pct=D("0.3"),
    target_pct=D("0.4"),
    stop_pct=D(5),
    grace_s=60,
)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "side"), [(1, Side.BUY), (2, Side.BUY), (3, Side.SELL), (4, Side.SELL)])
def test_an_hour_lived_on_the_exchange_is_its_backtest(sqlite: Database, seed: int, side: Side) -> None:
    """Prices go less than a step a minute, so that a candle leaves no doubt of the order within it."""
    draw = random.Random(seed)
    prices = [100_000.0]
    for _ in range(60):
        prices.append(prices[-1] + draw.uniform(-450, 450))
    with stage_on(sqlite, *prices) as stage:
        stage.start(replace(PLAN, side=side))
        for _ in range(59):
            stage.advance(1)
            stage.maintain()
        now_ms = stage.running.now_ms()
        candles = stage.exchange.candles(SYMBOL, Timeframe("1m"), T0, now_ms)
        rules = {one.symbol: one for one in stage.exchange.instruments()}[SYMBOL]
        funding = stage.exchange.funding(SYMBOL, T0 + 1, now_ms)
        costs = Assumptions(D("0.00055"), D("0.0002"), D("0.000001"))
        plan = replace(PLAN, side=side)
        simulated = simulate(plan, candles, funding, rules, costs)
        lived = live_fills(stage)
        expected = [(one.what, (one.time_ms - T0) // MINUTE, one.price, one.qty) for one in simulated.events]
        assert len(lived) > 5
        # The exchange fills an order that waits when the price goes beyond it: in the same minute, or at its edge.
        assert [row[0] for row in lived] == [row[0] for row in expected]
        for (what, minute, price, qty), (_, other, wished, amount) in zip(lived, expected, strict=True):
            assert abs(minute - other) <= 1, (what, minute, other)
            assert abs(price / wished - 1) < D("0.001"), (what, minute, price, wished)
            assert abs(qty - amount) <= rules.qty_step * 4
        with sqlite.read() as connection:
            buys = dca.buys_of(connection, stage.row().plan_id)
        assert [(one.due_ms, one.outcome) for one in buys] == [(due, outcome) for due, outcome, _ in simulated.times]
        total = float(stage.accounts().total(simulated.mark))
        assert total == pytest.approx(float(simulated.total), abs=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_day_lived_on_the_exchange_is_its_backtest_and_parity_explains_each_fill(
    sqlite: Database, side: Side
) -> None:
    market = SeededMarket(7, 5)
    plan = replace(A_DAY, side=side, anchor_ms=DAY_MS_OF_STAGE)
    with stage_of(sqlite, market, DAY_MS_OF_STAGE) as stage:
        stage.start(plan)
        _live_a_day(stage, market, plan)
        rows = compare_plans(
            DAY_MS_OF_STAGE,
            sqlite,
            settings=stage.context.settings,
            instruments={one.symbol: one for one in stage.exchange.instruments()},
            load_held=lambda symbol, timeframe, close_ms: stage.exchange.candles(
                symbol, timeframe, close_ms - timeframe.ms, stage.running.now_ms()
            ),
        )
        LIVE_PARITY.model.validate(rows, lazy=True)
        assert rows["explained"].all(), rows[rows["explained"] == 0]["reason"].tolist()
        assert rows["live"].sum() == len(live_fills(stage)) > 30
        assert (rows["outcome"] == "agrees").mean() > 0.8


def _live_a_day(stage: Stage, market: SeededMarket, plan: Plan) -> None:
    """The clock goes from one scheduled time, or minute that reaches an order, to the next; in it by ten seconds."""
    end_ms = DAY_MS_OF_STAGE + DAY_MS
    while (now := stage.running.now_ms()) < end_ms:
        until = min([end_ms, *plan.times.between(now, end_ms, 1)])
        levels = [float(one.trigger_price or one.price or 0) for one in stage.exchange.open_orders(SYMBOL)]
        bars = market.bars(SYMBOL, "1", now - now % MINUTE, until, until)
        reached = next((int(bar[0]) for bar in bars if any(bar[LOW] <= one <= bar[HIGH] for one in levels)), until)
        if reached > now:
            stage.advance((min(reached, until) - now) / MINUTE)
            stage.maintain()
            continue
        for _ in range(6):
            stage.advance(1 / 6)
            stage.maintain()
