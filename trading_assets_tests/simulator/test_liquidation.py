"""Liquidation in cross margin: when, in which order, at which price, and what is left afterwards."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.booking import transfer
from trading_assets.simulator.account.margin import liquidation_price, tier_of
from trading_assets.simulator.account.models import Execution
from trading_assets.simulator.account.triggers import SAMPLE_MS
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Params, round8
from trading_assets.simulator.rest.position import closed_pnl, position_list
from trading_assets.simulator.rest.trade import executions
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.accounts import (
    BTC,
    account_on,
    by_kind,
    ended,
    limit_order,
    market_order,
    refused,
    straight,
    trigger_order,
)
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket, rising_then_falling

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
ALT = "ALTUSDT"


def busts(account: AccountEngine) -> list[Execution]:
    return [row for row in account.state.executions if row.exec_type == "BustTrade"]


def two(btc: list[float], alt: list[float]) -> FakeMarket:
    return FakeMarket(rising_then_falling(BTC, T0, btc) | rising_then_falling(ALT, T0, alt))


def predicted(account: AccountEngine, symbol: str = BTC, position_idx: int = 0) -> Decimal:
    figures = account.figures(account.state.header.settled_ms)
    wanted = (symbol, position_idx)
    (item,) = [one for one in figures.positions if (one.position.symbol, one.position.position_idx) == wanted]
    price = liquidation_price(figures, item)
    assert price is not None
    return price


@pytest.mark.parametrize(("side", "there"), [(BUY, 85_000.0), (SELL, 115_000.0)])
def test_a_position_is_taken_over_when_the_mark_price_is_at_its_liquidation_price(side: Side, there: float) -> None:
    account = account_on(straight(100_000, there), "1050")
    account.place_order(market_order(side, "0.1"), T0)
    price = predicted(account)
    account.settle(T0 + HOUR)
    (bust,) = busts(account)
    here, before = bust.mark_price, D(str(account.market.mark_price(BTC, bust.time_ms - SAMPLE_MS)))
    assert (before > price >= here) if side is BUY else (before < price <= here)
    assert (bust.side, bust.qty, bust.create_type) == (side.opposite, D("0.1"), "CreateByTakeOver_PassThrough")
    assert bust.fee == round8(bust.value * D("0.00055"))
    assert account.state.positions[BTC].size == 0
    assert 0 <= account.state.balances["USDT"].wallet < 1
    (row,) = account.state.closed
    assert (row.exec_type, row.closed_size, row.side) == ("BustTrade", D("0.1"), side.opposite)
    assert -1050 <= row.pnl < -1040


def test_a_gap_beyond_bankruptcy_costs_no_more_than_the_account_has() -> None:
    script = {BTC: {T0: (100_000.0,) * 4, T0 + MINUTE: (60_000.0,) * 4}}
    account = account_on(FakeMarket(script), "1050")
    account.place_order(market_order(BUY, "0.1"), T0)
    account.settle(T0 + HOUR)
    assert 0 <= account.state.balances["USDT"].wallet < 1
    assert busts(account)[0].price > 89_000


def test_the_rows_of_a_take_over_are_marked_as_such() -> None:
    venue = Venue(
        ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0), deposit=D(1050)), straight(100_000, 85_000), "fake"
    )
    venue.transact(lambda now: venue.engine.place_order(market_order(BUY, "0.1"), now))
    asked = Params({"category": "linear", "symbol": BTC})
    listed = position_list(venue, asked, T0)
    assert isinstance(listed, dict) and abs(D(listed["list"][0]["liqPrice"]) - predicted(venue.engine)) <= D("0.05")
    now = venue.advance(lambda now: now + HOUR)
    fills, closed = executions(venue, asked, now), closed_pnl(venue, asked, now)
    assert isinstance(fills, dict) and isinstance(closed, dict)
    assert (fills["list"][0]["execType"], fills["list"][0]["createType"]) == (
        "BustTrade",
        "CreateByTakeOver_PassThrough",
    )
    assert closed["list"][0]["execType"] == "BustTrade"
    order = venue.engine.state.orders[closed["list"][0]["orderId"]]
    assert (order.status, order.create_type, order.order_type) == (
        OrderStatus.FILLED,
        "CreateByTakeOver_PassThrough",
        "Market",
    )
    venue.close()


def test_orders_in_the_book_go_first_and_those_of_the_position_end_with_it() -> None:
    account = account_on(straight(100_000, 85_000), "1060")
    account.place_order(market_order(BUY, "0.1", take_profit=D(120_000)), T0)
    resting = account.place_order(limit_order(SELL, "101000", "0.1", reduce_only=True), T0)
    other = account.place_order(limit_order(BUY, "0.01", "1000", symbol=ALT), T0)
    waiting = account.place_order(trigger_order(BUY, "130000", 1), T0)
    (target,) = by_kind(account.open_orders(), "TakeProfit")
    account.settle(T0 + HOUR)
    for order in (resting, other):
        assert ended(order) == (OrderStatus.CANCELLED, "CancelAllBeforeLiq")
        assert order.updated_ms == busts(account)[0].time_ms
    assert ended(target) == (OrderStatus.DEACTIVATED, "CancelByTpSlTsClear")
    assert account.open_orders() == [waiting]


def test_a_stop_before_the_liquidation_price_prevents_it() -> None:
    account = account_on(straight(100_000, 85_000), "1050")
    account.place_order(market_order(BUY, "0.1", stop_loss=D(92_000)), T0)
    account.settle(T0 + HOUR)
    assert busts(account) == [] and 0 < account.state.balances["USDT"].wallet < 300


def test_a_stop_that_is_triggered_in_the_same_millisecond_saves_the_account_and_its_orders() -> None:
    gap = FakeMarket({BTC: {T0: (100_000.0,) * 4, T0 + MINUTE: (90_000.0,) * 4}})
    account = account_on(gap, "1050")
    account.place_order(market_order(BUY, "0.1", stop_loss=D(92_000)), T0)
    resting = account.place_order(limit_order(BUY, "0.01", "1000", symbol=ALT), T0)
    account.settle(T0 + HOUR)
    assert busts(account) == [] and account.state.closed[0].created_ms == T0 + MINUTE
    assert resting.status is OrderStatus.NEW


def test_the_profit_of_another_position_saves_a_losing_one() -> None:
    losing = [100_000.0, 85_000.0]
    account = account_on(two(losing, [0.05, 0.05]), "2100")
    account.place_order(market_order(BUY, "0.15"), T0)
    account.settle(T0 + HOUR)
    assert len(busts(account)) == 1
    account = account_on(two(losing, [0.05, 0.06]), "2100")
    account.place_order(market_order(BUY, "0.15"), T0)
    account.place_order(market_order(BUY, "100000", symbol=ALT), T0)
    account.settle(T0 + HOUR)
    assert busts(account) == [] and len(account.state.open_positions()) == 2


def test_of_several_positions_the_one_of_the_largest_maintenance_margin_goes_first() -> None:
    account = account_on(two([100_000.0, 84_000.0], [0.05, 0.05]), "1500")
    account.place_order(market_order(BUY, "0.1"), T0)
    account.place_order(market_order(BUY, "40000", symbol=ALT), T0)
    account.settle(T0 + HOUR)
    rows = busts(account)
    assert rows[0].symbol == BTC
    assert account.state.balances["USDT"].wallet >= 0
    assert account.figures(T0 + HOUR).margin_balance >= account.figures(T0 + HOUR).maintenance_margin


@pytest.mark.parametrize("there", [85_000.0, 115_000.0])
def test_with_both_legs_open_the_predicted_price_is_that_of_what_they_are_together(there: float) -> None:
    account = account_on(straight(100_000, there), "2000")
    account.switch_mode(BTC, "", hedge=True)
    large, small = (1, 2) if there < 100_000 else (2, 1)
    for index, qty in ((large, "0.15"), (small, "0.02")):
        account.place_order(market_order(BUY if index == 1 else SELL, qty, position_idx=index), T0)
    price = predicted(account, BTC, large)
    assert predicted(account, BTC, small) == price
    account.settle(T0 + HOUR)
    bust = busts(account)[0]
    before = D(str(account.market.mark_price(BTC, bust.time_ms - SAMPLE_MS)))
    assert min(before, bust.mark_price) <= price <= max(before, bust.mark_price)


def test_equal_legs_are_never_liquidated_by_the_price() -> None:
    account = account_on(straight(100_000, 60_000, 140_000), "3000")
    account.switch_mode(BTC, "", hedge=True)
    for index in (1, 2):
        account.place_order(market_order(BUY if index == 1 else SELL, "0.1", position_idx=index), T0)
    account.settle(T0 + HOUR)
    assert busts(account) == []


def test_a_large_position_comes_down_tier_by_tier_at_falling_prices() -> None:
    prices = [0.05, 0.045]
    account = account_on(FakeMarket(rising_then_falling(ALT, T0, prices), level_qty=2e7), "100000")
    for _ in range(4):
        account.place_order(market_order(BUY, "4600000", symbol=ALT), T0)
    contract = account.market.contracts[ALT]
    start = tier_of(contract, account.figures(T0).positions[0].value)
    assert start is not None and start.id == 4
    account.settle(T0 + HOUR)
    rows, size = busts(account), D(18_400_000)
    for row in rows:
        before = tier_of(contract, size * row.mark_price)
        size -= row.qty
        after = tier_of(contract, size * row.mark_price)
        assert before is not None and after is not None
        assert after.id == before.id - 1 if before.id > 1 else size == 0
    assert len(rows) >= 2 and account.state.positions[ALT].size == size
    assert account.state.balances["USDT"].wallet >= 0
    assert {row.closed_size for row in account.state.closed} == {row.qty for row in rows}


def test_an_account_lives_on_after_a_liquidation() -> None:
    account = account_on(straight(100_000, 85_000), "1050")
    account.place_order(market_order(BUY, "0.1"), T0)
    account.settle(T0 + HOUR)
    now = T0 + HOUR
    with refused(110007):
        account.place_order(market_order(BUY), now)
    transfer(account.state, "USDT", D(1000), account.state.header.settled_ms)
    order = account.place_order(market_order(BUY, stop_loss=D(80_000)), now)
    assert order.status is OrderStatus.FILLED
    account.settle(now + HOUR)
    assert len(busts(account)) == 1 and account.state.positions[BTC].size == D("0.01")


def test_looking_often_changes_nothing_about_a_liquidation() -> None:
    def live(span: int) -> list[tuple[int, Decimal, Decimal]]:
        account = account_on(FakeMarket(swing=0.05), "300")
        account.set_leverage(BTC, D(50), T0)
        account.place_order(market_order(BUY, "0.1"), T0)
        for moment in range(T0, T0 + HOUR + 1, span):
            account.settle(moment)
        return [(row.time_ms, row.price, row.qty) for row in busts(account)]

    assert live(HOUR) == live(4_000) != []


def test_a_value_above_the_tier_of_the_leverage_is_refused() -> None:
    account = account_on(deposit="10000000")
    account.set_leverage(BTC, D(100), T0)
    with refused(110090, "66.66"):
        account.place_order(market_order(BUY, "21"), T0)
    account.place_order(limit_order(BUY, "99500", "15"), T0)
    with refused(110090):
        account.place_order(limit_order(BUY, "99500", "6"), T0)
    account.set_leverage(BTC, D("66.66"), T0)
    account.place_order(limit_order(BUY, "99500", "6"), T0)
    with refused(110013):
        account.set_leverage(BTC, D(100), T0)


def test_a_leverage_that_the_orders_cannot_afford_is_refused() -> None:
    account = account_on()
    account.place_order(limit_order(BUY, "99000", "0.9"), T0)
    with refused(110012):
        account.set_leverage(BTC, D(1), T0)
    assert account.state.positions == {} and account.figures(T0).available > 0
    account.set_leverage(BTC, D(20), T0)
    assert account.figures(T0).order_margin["USDT"] < 4600
