"""The account engine: orders, stops, margins, funding, delivery; no HTTP."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.margin import liquidation_price
from trading_assets.simulator.account.models import STOP_LOSS, OrderCommand, StopCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal, round8
from trading_assets_tests.simulator.fake_market import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    FakeMarket,
    rising_then_falling,
)

D = Decimal
FLAT = {"BTCUSDT": {T0: (100_000.0,) * 4}}


def engine(market: FakeMarket | None = None, deposit: str = "10000") -> AccountEngine:
    return AccountEngine(market or FakeMarket(FLAT), AccountState.opened("test", T0, {"USDT": D(deposit)}))


def buy(qty: str = "0.01", **more: Any) -> OrderCommand:
    return replace(OrderCommand("BTCUSDT", Side.BUY, D(qty)), **more)


def sell(qty: str = "0.01", **more: Any) -> OrderCommand:
    return replace(OrderCommand("BTCUSDT", Side.SELL, D(qty)), **more)


def code(caught: pytest.ExceptionInfo[Refusal]) -> int | None:
    return caught.value.code


def test_a_market_order_is_an_ioc_limit_one_percent_away_that_fills_at_the_ask() -> None:
    account = engine()
    order = account.place_order(buy(), T0)
    assert (order.status, order.price, order.time_in_force) == (OrderStatus.FILLED, D(101_000), "IOC")
    assert order.filled_value == D("1000.001")
    assert order.fee == D("0.55000055")
    position = account.state.positions["BTCUSDT"]
    assert (position.size, position.entry_price) == (D("0.01"), D("100000.1"))
    assert account.state.balances["USDT"].wallet == D("9999.44999945")


def test_an_order_walks_the_book_and_its_rest_is_cancelled() -> None:
    account = engine(FakeMarket(FLAT, level_qty=0.01), "100000")
    order = account.place_order(buy("0.5"), T0)
    assert order.status is OrderStatus.CANCELLED
    assert order.filled_qty == D("0.40")
    assert order.reject_reason == "EC_CancelForNoFullFill"
    prices = [row.price for row in account.state.executions]
    assert prices == sorted(prices) and len(prices) == 40
    assert [row.left_qty for row in account.state.executions][-1] == D("0.10")


def test_an_order_that_meets_an_empty_book_is_accepted_and_cancelled() -> None:
    account = engine(FakeMarket(FLAT, level_qty=0.0))
    order = account.place_order(buy(stop_loss=D(99_000)), T0)
    assert (order.status, order.reject_reason) == (OrderStatus.CANCELLED, "EC_NoImmediateQtyToFill")
    assert account.open_orders() == []
    assert account.state.balances["USDT"].wallet == D(10_000)


def test_a_slippage_tolerance_draws_the_limit_in() -> None:
    account = engine(FakeMarket(FLAT, level_qty=0.001))
    order = account.place_order(buy("0.05", slippage_type="TickSize", slippage=D(3)), T0)
    assert order.price == D("100000.4")
    assert order.filled_qty == D("0.004")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (buy("0.0105"), 10001),
        (buy("0.0005"), 10001),
        (buy("0"), 10001),
        (buy("-1"), 10001),
        (buy("501"), 10001),
        (replace(buy(), symbol="NOPEUSDT"), 10001),
        (OrderCommand("ALTUSDT", Side.BUY, D(90)), 110094),
        (buy("20"), 110007),
        (buy(reduce_only=True), 110017),
        (sell(reduce_only=True), 110017),
        (sell("0", reduce_only=True, close_on_trigger=True), 110017),
        (buy(order_link_id="with space"), 10001),
        (buy(order_link_id="x" * 37), 10001),
        (buy(stop_loss=D(100_000)), 10001),
        (buy(stop_loss=D("99000.05")), 10001),
        (buy(take_profit=D(99_000)), 10001),
        (sell(stop_loss=D(99_000)), 10001),
        (sell(take_profit=D(101_000)), 10001),
        (buy(slippage_type="Percent", slippage=D("0.001")), 110108),
        (buy(slippage_type="TickSize", slippage=D(20_000)), 110109),
    ],
)
def test_what_the_venue_refuses_changes_nothing(command: OrderCommand, expected: int) -> None:
    account = engine()
    account.state.changed.clear()
    with pytest.raises(Refusal) as caught:
        account.place_order(command, T0)
    assert code(caught) == expected
    assert not account.state.changed and not account.state.orders and not account.state.positions


def test_a_contract_that_has_been_delivered_is_not_live() -> None:
    account = engine()
    future = account.market.contracts["BTCUSDT-30JAN26"]
    with pytest.raises(Refusal) as caught:
        account.place_order(replace(buy(), symbol=future.symbol), future.delivery_ms)
    assert code(caught) == 110074


def test_a_stop_on_the_wrong_side_is_told_in_the_venues_words() -> None:
    with pytest.raises(Refusal) as caught:
        engine().place_order(sell(stop_loss=D("99999.9")), T0)
    words = "StopLoss:999999000 set for Sell position should greater base_price:1000000000??LastPrice"
    assert str(caught.value) == words


def test_a_link_id_is_used_once_for_ever_even_by_a_cancelled_order() -> None:
    account = engine(FakeMarket(FLAT, level_qty=0.0))
    account.place_order(buy(order_link_id="once"), T0)
    with pytest.raises(Refusal) as caught:
        account.place_order(buy(order_link_id="once"), T0 + DAY)
    assert code(caught) == 110072


def test_attached_stops_wait_as_children_of_the_order() -> None:
    account = engine()
    account.place_order(buy(order_link_id="mine", stop_loss=D(99_000), take_profit=D(102_000)), T0)
    target, stop = account.open_orders()
    assert (stop.stop_order_type, stop.create_type) == ("StopLoss", "CreateByStopLoss")
    assert (target.stop_order_type, target.create_type) == ("TakeProfit", "CreateByTakeProfit")
    for child, price, direction in ((stop, 99_000, 2), (target, 102_000, 1)):
        assert (child.status, child.side, child.qty) == (OrderStatus.UNTRIGGERED, Side.SELL, D("0.01"))
        assert (child.trigger_price, child.trigger_direction) == (D(price), direction)
        assert child.reduce_only and child.close_on_trigger
        assert (child.order_link_id, child.parent_order_link_id) == ("", "mine")


@pytest.mark.parametrize(
    ("prices", "closing", "other"),
    [
        ([100_000, 100_500, 102_500, 90_000], "TakeProfit", "StopLoss"),
        ([100_000, 99_500, 98_500, 110_000], "StopLoss", "TakeProfit"),
    ],
)
def test_whichever_level_the_path_touches_first_closes_the_position(
    prices: list[float], closing: str, other: str
) -> None:
    account = engine(FakeMarket(rising_then_falling("BTCUSDT", T0, prices)))
    account.place_order(buy(stop_loss=D(99_000), take_profit=D(102_000)), T0)
    account.settle(T0 + HOUR)
    children = {order.stop_order_type: order for order in account.state.orders.values()}
    assert children[closing].status is OrderStatus.FILLED
    assert (children[other].status, children[other].cancel_type) == (
        OrderStatus.DEACTIVATED,
        "CancelByTpSlTsClear",
    )
    assert children[other].updated_ms == children[closing].updated_ms
    (row,) = account.state.closed
    assert row.side is Side.SELL and row.order_id == children[closing].order_id
    level = {"TakeProfit": 102_000, "StopLoss": 99_000}[closing]
    assert 0 <= level - row.exit_price < 1
    assert account.state.positions["BTCUSDT"].size == 0
    assert account.open_orders() == []


@pytest.mark.parametrize("steps", [[], [MINUTE - 1], [MINUTE], [MINUTE + 400], [7, MINUTE - 1, MINUTE, MINUTE + 1]])
def test_a_touch_just_after_a_minute_begins_is_not_missed_between_two_looks(steps: list[int]) -> None:
    script = {"BTCUSDT": {T0: (100_000.0,) * 4, T0 + MINUTE: (100_000.0, 90_000.0, 100_000.0, 100_000.0)}}
    account = engine(FakeMarket(script))
    account.place_order(buy(stop_loss=D(99_700)), T0)
    for step in steps:
        account.settle(T0 + step)
    account.settle(T0 + HOUR)
    (row,) = account.state.closed
    assert row.created_ms == T0 + MINUTE + 511


def test_a_short_is_stopped_above_and_takes_profit_below() -> None:
    account = engine(FakeMarket(rising_then_falling("BTCUSDT", T0, [100_000, 99_500, 97_000])))
    account.place_order(sell(stop_loss=D(101_000), take_profit=D(98_000)), T0)
    account.settle(T0 + HOUR)
    (row,) = account.state.closed
    assert row.side is Side.BUY
    assert 0 <= row.exit_price - 98_000 < 1
    assert row.pnl == round8(row.entry_value - row.exit_value - row.open_fee - row.close_fee) > 0


def test_a_price_gap_fills_where_the_market_is_and_not_at_the_stop() -> None:
    script = {"BTCUSDT": {T0: (100_000.0,) * 4, T0 + MINUTE: (95_000.0,) * 4}}
    account = engine(FakeMarket(script))
    account.place_order(buy(stop_loss=D(99_000)), T0)
    account.settle(T0 + HOUR)
    (row,) = account.state.closed
    assert row.created_ms == T0 + MINUTE
    assert row.exit_price == D("94999.9")


def test_adding_to_a_position_moves_its_stops_to_the_whole_size_and_the_new_level() -> None:
    account = engine()
    account.place_order(buy(order_link_id="a", stop_loss=D(99_000)), T0)
    account.place_order(buy("0.02", order_link_id="b", stop_loss=D(98_000)), T0 + 1)
    (stop,) = account.open_orders()
    assert (stop.qty, stop.trigger_price, stop.parent_order_link_id) == (D("0.03"), D(98_000), "b")


def test_a_reduce_only_order_is_cut_to_the_position_and_clears_its_stops() -> None:
    account = engine()
    account.place_order(buy(stop_loss=D(99_000)), T0)
    order = account.place_order(sell("5", reduce_only=True), T0 + 1)
    assert (order.qty, order.filled_qty) == (D("0.01"), D("0.01"))
    assert account.state.positions["BTCUSDT"].size == 0
    assert account.open_orders() == []


def test_quantity_zero_with_close_on_trigger_closes_all() -> None:
    account = engine()
    account.place_order(buy("0.03"), T0)
    order = account.place_order(sell("0", reduce_only=True, close_on_trigger=True), T0)
    assert order.filled_qty == D("0.03") and not account.state.open_positions()


def test_a_small_rest_may_be_closed_below_the_minimum_notional() -> None:
    account = engine()
    account.place_order(OrderCommand("ALTUSDT", Side.BUY, D(200)), T0)
    order = account.place_order(OrderCommand("ALTUSDT", Side.SELL, D(10)), T0)
    assert order.status is OrderStatus.FILLED


def test_a_larger_opposite_order_turns_the_position() -> None:
    account = engine()
    account.place_order(buy(stop_loss=D(99_000)), T0)
    order = account.place_order(sell("0.03", stop_loss=D(101_000)), T0 + 1)
    position = account.state.positions["BTCUSDT"]
    assert position.size == D("-0.02") and position.opened_ms == T0 + 1
    assert position.entry_value == D("1999.998")
    (row,) = account.state.closed
    assert (row.order_id, row.closed_size, row.qty) == (order.order_id, D("0.01"), D("0.03"))
    assert row.close_fee + position.open_fee == order.fee
    (stop,) = account.open_orders()
    assert (stop.side, stop.qty, stop.trigger_price) == (Side.BUY, D("0.02"), D(101_000))
    assert account.state.executions[-1].closed_size == D("0.01")


def test_partial_closings_share_entry_value_and_opening_fee() -> None:
    account = engine()
    account.place_order(buy("0.03"), T0)
    for _ in range(3):
        account.place_order(sell(), T0)
    assert sum(row.entry_value for row in account.state.closed) == D("3000.003")
    assert sum(row.open_fee for row in account.state.closed) == D("1.65000165")
    position = account.state.positions["BTCUSDT"]
    assert (position.size, position.entry_value, position.open_fee) == (0, 0, 0)
    assert account.state.balances["USDT"].wallet == 10_000 + sum(r.pnl for r in account.state.closed)


def test_trading_stop_sets_changes_and_cancels() -> None:
    account = engine()
    with pytest.raises(Refusal) as caught:
        account.change_stops(StopCommand("BTCUSDT", stop_loss=D(99_000), take_profit=None), T0)
    assert code(caught) == 10001 and "zero position" in str(caught.value)
    account.place_order(buy(), T0)
    account.change_stops(StopCommand("BTCUSDT", stop_loss=D(99_000), take_profit=D(103_000)), T0)
    with pytest.raises(Refusal) as caught:
        account.change_stops(StopCommand("BTCUSDT", stop_loss=D("99000.0"), take_profit=None), T0)
    assert code(caught) == 34040
    with pytest.raises(Refusal) as caught:
        account.change_stops(StopCommand("BTCUSDT", stop_loss=D(101_000), take_profit=None), T0)
    assert code(caught) == 10001
    account.change_stops(StopCommand("BTCUSDT", stop_loss=D(99_500), take_profit=None), T0 + 1)
    assert {order.trigger_price for order in account.open_orders()} == {D(99_500), D(103_000)}
    account.change_stops(StopCommand("BTCUSDT", stop_loss=D(0), take_profit=None), T0 + 2)
    (target,) = account.open_orders()
    assert target.trigger_price == D(103_000)
    assert account.stop_price(account.state.positions["BTCUSDT"], STOP_LOSS) is None
    with pytest.raises(Refusal) as caught:
        account.change_stops(StopCommand("BTCUSDT", stop_loss=D(0), take_profit=None), T0 + 3)
    assert code(caught) == 34040


def test_a_stop_can_be_cancelled_once() -> None:
    account = engine()
    account.place_order(buy(order_link_id="a", stop_loss=D(99_000)), T0)
    (stop,) = account.open_orders()
    assert account.cancel("BTCUSDT", stop.order_id, "", T0).status is OrderStatus.DEACTIVATED
    for order_id, link, expected in ((stop.order_id, "", 110010), ("", "a", 110008), ("x", "", 110001)):
        with pytest.raises(Refusal) as caught:
            account.cancel("BTCUSDT", order_id, link, T0)
        assert code(caught) == expected


def test_leverage_has_bounds_and_an_unchanged_one_is_told() -> None:
    account = engine()
    account.set_leverage("BTCUSDT", D(20), T0)
    for leverage, expected in (
        ("20", 110043),
        ("20.00", 110043),
        ("101", 110013),
        ("0.5", 10001),
        ("10.005", 10001),
    ):
        with pytest.raises(Refusal) as caught:
            account.set_leverage("BTCUSDT", D(leverage), T0)
        assert code(caught) == expected
    account.place_order(buy("1"), T0)
    with pytest.raises(Refusal) as caught:
        account.set_leverage("BTCUSDT", D(1), T0)
    assert code(caught) == 110012


def test_higher_leverage_needs_less_margin() -> None:
    account = engine()
    with pytest.raises(Refusal):
        account.place_order(buy("1.5"), T0)
    account.set_leverage("BTCUSDT", D(50), T0)
    account.place_order(buy("1.5"), T0)
    figures = account.figures(T0)
    assert figures.initial_margin == 150_000 / D(50) + 150_000 * D("0.00055") * (1 - 1 / D(50))
    assert figures.available == figures.margin_balance - figures.initial_margin > 0


def test_closing_needs_no_margin_even_when_there_is_none() -> None:
    account = engine(deposit="1010")
    account.place_order(buy("0.099"), T0)
    assert account.figures(T0).available < 10
    assert account.place_order(sell("0.099"), T0).status is OrderStatus.FILLED


def test_at_the_liquidation_price_margin_balance_equals_maintenance_margin() -> None:
    for side in (Side.BUY, Side.SELL):
        account = engine(deposit="1500")
        account.place_order(OrderCommand("BTCUSDT", side, D("0.1")), T0)
        figures = account.figures(T0)
        (item,) = figures.positions
        price = liquidation_price(figures, item)
        assert price is not None
        moved = (price - item.mark) * (1 if side is Side.BUY else -1) * D("0.1")
        maintenance = item.maintenance_margin * price / item.mark
        assert abs(figures.margin_balance + moved - maintenance) < D("0.0001")


def test_funding_is_paid_by_longs_received_by_shorts_at_each_interval() -> None:
    for side, sign in ((Side.BUY, 1), (Side.SELL, -1)):
        account = engine(FakeMarket(FLAT, funding=0.0001))
        account.place_order(OrderCommand("BTCUSDT", side, D("0.01")), T0)
        before = account.state.balances["USDT"].wallet
        account.settle(T0 + DAY)
        rows = [row for row in account.state.executions if row.exec_type == "Funding"]
        assert [row.time_ms for row in rows] == [T0 + 8 * HOUR, T0 + 16 * HOUR, T0 + DAY]
        assert {row.fee for row in rows} == {sign * D("0.1")}
        assert {(row.qty, row.price, row.order_type) for row in rows} == {(D("0.01"), D(100_000), "UNKNOWN")}
        assert account.state.balances["USDT"].wallet == before - 3 * sign * D("0.1")


def test_a_position_opened_at_a_funding_time_pays_from_the_next_one() -> None:
    account = engine()
    account.settle(T0 + 8 * HOUR)
    account.place_order(buy(), T0 + 8 * HOUR)
    account.settle(T0 + 8 * HOUR + 1)
    assert all(row.exec_type == "Trade" for row in account.state.executions)


@pytest.mark.slow
def test_a_dated_future_pays_no_funding_and_is_delivered_at_its_end() -> None:
    account = engine()
    future = account.market.contracts["BTCUSDT-30JAN26"]
    account.place_order(replace(buy(), symbol=future.symbol, stop_loss=D(50_000)), T0)
    account.settle(future.delivery_ms + DAY)
    (row,) = account.state.closed
    assert (row.exec_type, row.created_ms, row.close_fee) == ("Settle", future.delivery_ms, 0)
    assert {execution.exec_type for execution in account.state.executions} == {"Trade", "Delivery"}
    assert row.order_id not in account.state.orders
    assert not account.state.open_positions() and account.open_orders() == []


def test_a_usdc_contract_moves_the_usdc_wallet() -> None:
    account = engine()
    account.place_order(replace(buy(), symbol="BTCPERP"), T0)
    assert account.state.balances["USDT"].wallet == 10_000
    assert account.state.balances["USDC"].wallet < 0
    assert account.figures(T0).wallet == 10_000 + account.state.balances["USDC"].wallet
