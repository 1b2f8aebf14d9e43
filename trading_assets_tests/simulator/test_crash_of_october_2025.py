"""An account lives through the recorded crash of 2025-10-10: what is stopped out, what is liquidated, and the books."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import OrderCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.market.base import LOW
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets_tests.conftest import recorded_data

D = Decimal
BEFORE_MS = 1_760_126_400_000
"""2025-10-10T20:00:00Z, 75 minutes before the candle in which APEUSDT lost more than half."""

AFTER_MS = BEFORE_MS + 4 * HOUR_MS

pytestmark = pytest.mark.recorded


@pytest.fixture(scope="module")
def market() -> ReplayMarket:
    return ReplayMarket([recorded_data("candles_5m.parquet")])


def account(market: ReplayMarket, deposit: int) -> AccountEngine:
    return AccountEngine(market, AccountState.opened("crash", BEFORE_MS, {"USDT": D(deposit)}))


def buy(engine: AccountEngine, symbol: str, usd: int, leverage: int, stop_pct: int | None = None) -> None:
    contract = engine.market.contracts[symbol]
    last = D(repr(engine.market.last_price(symbol, BEFORE_MS)))
    stop = None
    if stop_pct is not None:
        stop = (last * (100 - stop_pct) / 100 / contract.tick_size).to_integral_value() * contract.tick_size
    if engine.state.look_up(symbol).leverage != leverage:
        engine.set_leverage(symbol, D(leverage), BEFORE_MS)
    qty = (D(usd) / last / contract.qty_step).to_integral_value() * contract.qty_step
    order = engine.place_order(OrderCommand(symbol, Side.BUY, qty, stop_loss=stop), BEFORE_MS)
    assert order.filled_qty == qty


def assert_books_balance(engine: AccountEngine) -> None:
    state = engine.state
    fees = sum((row.fee for row in state.executions if row.exec_type != "Funding"), D(0))
    funding = sum((row.fee for row in state.executions if row.exec_type == "Funding"), D(0))
    gross = sum((row.pnl for row in state.executions), D(0))
    wallet = state.balances["USDT"].wallet
    assert wallet == state.header.deposited + gross - fees - funding
    for position in state.positions.values():
        fills = [row for row in state.executions if row.symbol == position.symbol and row.exec_type != "Funding"]
        assert position.size == sum((r.qty if r.side is Side.BUY else -r.qty for r in fills), D(0))
    for row in state.closed:
        assert row.pnl == row.exit_value - row.entry_value - row.open_fee - row.close_fee
    figures = engine.figures(AFTER_MS)
    assert figures.margin_balance == figures.wallet + figures.unrealised


def test_stops_close_every_position_and_the_loss_is_that_of_the_stops_where_the_price_did_not_jump(
    market: ReplayMarket,
) -> None:
    engine = account(market, 100_000)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "AAVEUSDT", "APEUSDT"):
        buy(engine, symbol, 5000, 10, stop_pct=3)
    engine.settle(AFTER_MS)
    assert engine.state.open_positions() == [] and engine.open_orders() == []
    assert len(engine.state.closed) == 5
    for row in engine.state.closed:
        order = engine.state.orders[row.order_id]
        assert (order.stop_order_type, order.status, row.exec_type) == ("StopLoss", OrderStatus.FILLED, "Trade")
        # Never better than a tick beyond the stop, and where trading went on, close to it.
        assert order.trigger_price is not None
        assert row.exit_price / order.trigger_price == pytest.approx(D(1), abs=D("0.005"))
    assert_books_balance(engine)


def test_what_has_no_stop_is_liquidated_where_its_margin_ends(market: ReplayMarket) -> None:
    engine = account(market, 1200)
    buy(engine, "APEUSDT", 5000, 10)
    foreseen = engine.figures(BEFORE_MS)
    (item,) = foreseen.positions
    engine.settle(AFTER_MS)
    (row,) = engine.state.closed
    order = engine.state.orders[row.order_id]
    assert (row.exec_type, order.create_type) == ("BustTrade", "CreateByTakeOver_PassThrough")
    assert engine.state.open_positions() == []
    wallet = engine.state.balances["USDT"].wallet
    assert 0 <= wallet < foreseen.wallet / 100
    minute = row.created_ms - row.created_ms % MINUTE_MS
    low = float(market.bars("APEUSDT", "1", minute, minute + 1, AFTER_MS)[0][LOW])
    # At that moment the loss had eaten the margin down to the maintenance margin.
    assert low < float(item.mark) * (1 - 1200 / 5000 * 0.8)
    assert_books_balance(engine)


def test_enough_margin_lives_through_it_and_keeps_the_position(market: ReplayMarket) -> None:
    engine = account(market, 20_000)
    buy(engine, "APEUSDT", 5000, 10)
    engine.settle(AFTER_MS)
    (position,) = engine.state.open_positions()
    assert position.symbol == "APEUSDT" and engine.state.closed == []
    assert_books_balance(engine)


def test_one_jump_through_the_crash_and_many_steps_end_alike(market: ReplayMarket) -> None:
    def lived(step_ms: int) -> list[object]:
        engine = account(market, 3000)
        buy(engine, "APEUSDT", 6000, 10)
        buy(engine, "SOLUSDT", 4000, 10, stop_pct=5)
        buy(engine, "BTCUSDT", 4000, 10)
        for now in range(BEFORE_MS, AFTER_MS + 1, step_ms):
            engine.settle(now)
        return [engine.state.executions, engine.state.closed, engine.state.balances]

    assert lived(AFTER_MS - BEFORE_MS) == lived(7 * MINUTE_MS)
