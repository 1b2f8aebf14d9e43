"""Limit orders of the account engine: taking and resting, amending and cancelling, and the margin held for them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import Amendment
from trading_assets.simulator.account.words import OrderStatus
from trading_assets_tests.simulator.accounts import (
    BTC,
    FLAT,
    account_on,
    ended,
    fills_of,
    limit_order,
    market_order,
    refused,
    straight,
)
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
QUARTER = D("3.086")
"""A quarter of the fake market's 12.345 BTC a minute, on the quantity step."""


def amend(engine: AccountEngine, order_id: str, now: int = T0, **changes: str) -> None:
    engine.amend(BTC, order_id, "", Amendment(**{name: D(value) for name, value in changes.items()}), now)


def test_a_marketable_order_takes_up_to_its_price_and_rests_with_what_is_left() -> None:
    account = account_on(FakeMarket(FLAT, level_qty=0.004))
    order = account.place_order(limit_order(BUY, "100000.20", "0.02"), T0)
    assert fills_of(account, order) == [(D("100000.1"), D("0.004"), False), (D("100000.2"), D("0.004"), False)]
    assert (order.status, order.left_qty) == (OrderStatus.PARTIALLY_FILLED, D("0.012"))
    assert order.fee == D("0.44000066")
    assert [one.order_id for one in account.open_orders()] == [order.order_id]


@pytest.mark.parametrize(
    ("side", "price", "touched", "beyond"),
    [(BUY, "99000", 99_000.0, 98_999.9), (SELL, "101000", 101_000.0, 101_000.1)],
)
def test_a_resting_order_is_not_filled_at_a_touch_but_one_tick_beyond_at_its_own_price_as_maker(
    side: Side, price: str, touched: float, beyond: float
) -> None:
    account = account_on(straight(100_000, touched))
    order = account.place_order(limit_order(side, price), T0)
    account.settle(T0 + HOUR)
    assert (order.status, order.filled_qty) == (OrderStatus.NEW, 0)
    account = account_on(straight(100_000, beyond))
    order = account.place_order(limit_order(side, price), T0)
    account.settle(T0 + HOUR)
    assert order.status is OrderStatus.FILLED
    assert fills_of(account, order) == [(D(price), D("0.01"), True)]
    assert order.fee == D(price) * D("0.01") * D("0.0002")
    assert account.state.executions[-1].fee_rate == D("0.0002")


def test_a_gap_beyond_a_resting_order_fills_it_at_its_own_price() -> None:
    account = account_on(FakeMarket({BTC: {T0: (100_000.0,) * 4, T0 + MINUTE: (95_000.0,) * 4}}))
    order = account.place_order(limit_order(BUY, "99000"), T0)
    account.settle(T0 + HOUR)
    assert fills_of(account, order) == [(D(99_000), D("0.01"), True)]
    assert order.updated_ms == T0 + MINUTE


def test_an_order_inside_the_spread_waits_for_the_first_trade_beyond_the_last() -> None:
    account = account_on(straight(100_000, 100_000, 99_999.9))
    order = account.place_order(limit_order(BUY, "100000"), T0)
    account.settle(T0 + MINUTE)
    assert order.status is OrderStatus.NEW
    account.settle(T0 + 2 * MINUTE)
    assert fills_of(account, order) == [(D(100_000), D("0.01"), True)]


def test_a_large_order_gets_a_quarter_of_each_minutes_volume() -> None:
    account = account_on(straight(100_000, 98_000), "2000000")
    order = account.place_order(limit_order(BUY, "99000", "7"), T0)
    account.settle(T0 + MINUTE - 1)
    assert (order.status, order.filled_qty) == (OrderStatus.PARTIALLY_FILLED, QUARTER)
    account.settle(T0 + HOUR)
    assert order.status is OrderStatus.FILLED
    assert [qty for _, qty, _ in fills_of(account, order)] == [QUARTER, QUARTER, 7 - 2 * QUARTER]
    minutes = [row.time_ms // MINUTE for row in account.state.executions]
    assert minutes == [T0 // MINUTE, T0 // MINUTE + 1, T0 // MINUTE + 2]


def test_a_post_only_order_that_would_take_is_cancelled_and_another_rests() -> None:
    account = account_on()
    taking = account.place_order(limit_order(BUY, "100000.1", time_in_force="PostOnly"), T0)
    assert (taking.status, taking.reject_reason) == (OrderStatus.CANCELLED, "EC_PostOnlyWillTakeLiquidity")
    resting = account.place_order(limit_order(BUY, "100000", time_in_force="PostOnly"), T0)
    assert resting.status is OrderStatus.NEW and not account.state.executions


@pytest.mark.parametrize(
    ("force", "price", "filled", "reason"),
    [
        ("IOC", "100000.20", "0.008", "EC_CancelForNoFullFill"),
        ("IOC", "99999", "0", "EC_NoImmediateQtyToFill"),
        ("FOK", "100000.20", "0", "EC_CancelForNoFullFill"),
        ("FOK", "99999", "0", "EC_CancelForNoFullFill"),
    ],
)
def test_ioc_takes_what_is_there_and_fok_all_or_nothing(force: str, price: str, filled: str, reason: str) -> None:
    account = account_on(FakeMarket(FLAT, level_qty=0.004))
    order = account.place_order(limit_order(BUY, price, "0.01", time_in_force=force), T0)
    assert (order.status, order.filled_qty, order.reject_reason) == (OrderStatus.CANCELLED, D(filled), reason)
    assert account.open_orders() == [] and account.figures(T0).order_margin.get("USDT", 0) == 0


def test_fok_fills_whole_where_the_book_holds_it() -> None:
    account = account_on(FakeMarket(FLAT, level_qty=0.004))
    order = account.place_order(limit_order(BUY, "100000.30", "0.012", time_in_force="FOK"), T0)
    assert order.status is OrderStatus.FILLED and len(fills_of(account, order)) == 3


@pytest.mark.parametrize(("side", "asked", "stored"), [(BUY, "150000", 101_000), (SELL, "50000", 99_000)])
def test_a_price_outside_the_band_is_moved_to_it_in_silence(side: Side, asked: str, stored: int) -> None:
    order = account_on(FakeMarket(FLAT, level_qty=0.0)).place_order(limit_order(side, asked), T0)
    assert order.price == stored and order.status is OrderStatus.NEW


@pytest.mark.parametrize(("price", "code"), [("0", 10001), ("-1", 10001), ("99000.05", 10001), ("2000000", 10001)])
def test_a_price_off_the_tick_or_the_contract_is_refused(price: str, code: int) -> None:
    account = account_on()
    with refused(code, "price"):
        account.place_order(limit_order(BUY, price), T0)
    assert not account.state.orders


def test_an_amended_price_meets_the_market_again() -> None:
    account = account_on()
    order_id = account.place_order(limit_order(BUY, "99000", order_link_id="mine"), T0).order_id
    amend(account, order_id, T0 + 5, price="99500")
    order = account.state.orders[order_id]
    assert (order.price, order.status, order.updated_ms, order.created_ms) == (D(99_500), OrderStatus.NEW, T0 + 5, T0)
    amend(account, order_id, T0 + 6, price="100000.10")
    order = account.state.orders[order_id]
    assert order.status is OrderStatus.FILLED and fills_of(account, order) == [(D("100000.1"), D("0.01"), False)]
    with refused(110008):
        amend(account, order_id, T0 + 7, price="99000")
    assert account.state.order_by("", "mine") is order


def test_amending_the_quantity_and_the_stops_of_a_resting_order() -> None:
    account = account_on(straight(100_000, 98_500))
    order_id = account.place_order(limit_order(BUY, "99000", "0.02"), T0).order_id
    amend(account, order_id, qty="0.05", stop_loss="97000", take_profit="101000")
    amend(account, order_id, take_profit="0")
    account.settle(T0 + HOUR)
    assert account.state.orders[order_id].filled_qty == D("0.05")
    (stop,) = account.open_orders()
    assert (stop.stop_order_type, stop.qty, stop.trigger_price) == ("StopLoss", D("0.05"), D(97_000))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 10001),
        ({"price": "99000", "qty": "0.020"}, 10001),
        ({"price": "99000.01"}, 10001),
        ({"price": "0"}, 10001),
        ({"qty": "0"}, 10001),
        ({"qty": "0.0205"}, 10001),
        ({"trigger_price": "98000"}, 10001),
        ({"stop_loss": "99500"}, 10001),
        ({"qty": "9"}, 110007),
    ],
)
def test_an_amendment_that_is_refused_changes_nothing(changes: dict[str, str], code: int) -> None:
    account = account_on()
    order = account.place_order(limit_order(BUY, "99000", "0.02"), T0)
    account.state.changed.clear()
    with refused(code):
        amend(account, order.order_id, **changes)
    assert not account.state.changed and account.state.orders[order.order_id] is order and order.qty == D("0.02")


def test_a_quantity_cannot_be_amended_to_what_is_filled_already() -> None:
    account = account_on(FakeMarket(FLAT, level_qty=0.004))
    order = account.place_order(limit_order(BUY, "100000.10", "0.02"), T0)
    for qty in ("0.004", "0.003"):
        with refused(110064):
            amend(account, order.order_id, qty=qty)
    amend(account, order.order_id, T0 + 1, qty="0.005", price="99000")
    left = account.state.orders[order.order_id]
    assert (left.left_qty, left.status) == (D("0.001"), OrderStatus.PARTIALLY_FILLED)


def test_a_cancelled_order_is_final_and_keeps_what_was_filled() -> None:
    account = account_on(FakeMarket(FLAT, level_qty=0.004))
    order = account.place_order(limit_order(BUY, "100000.10", "0.02"), T0)
    account.cancel(BTC, order.order_id, "", T0 + 3)
    assert ended(order) == (OrderStatus.CANCELLED, "CancelByUser")
    assert (order.filled_qty, order.left_qty, order.updated_ms) == (D("0.004"), 0, T0 + 3)
    with refused(110010):
        account.cancel(BTC, order.order_id, "", T0 + 4)
    with refused(110010):
        amend(account, order.order_id, price="99000")
    with refused(110001):
        account.cancel("ALTUSDT", order.order_id, "", T0 + 4)


def test_reduce_only_orders_shrink_with_the_position_and_end_with_it() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    large, small = (
        account.place_order(limit_order(SELL, "101000", qty, reduce_only=True), T0) for qty in ("9", "0.01")
    )
    assert large.qty == D("0.05")
    account.place_order(market_order(SELL, "0.02"), T0)
    assert (large.qty, small.qty) == (D("0.03"), D("0.01"))
    account.place_order(market_order(SELL, "0.03"), T0)
    for order in (large, small):
        assert ended(order) == (OrderStatus.CANCELLED, "CancelByReduceOnly")


def test_a_reduce_only_order_never_turns_the_position_even_when_amended() -> None:
    account = account_on(straight(100_000, 102_000))
    account.place_order(market_order(BUY, "0.05"), T0)
    order = account.place_order(limit_order(SELL, "101000", "0.01", reduce_only=True), T0)
    amend(account, order.order_id, qty="1")
    assert account.state.orders[order.order_id].qty == D("0.05")
    account.settle(T0 + HOUR)
    assert account.state.positions[BTC].size == 0


def test_reduce_only_without_a_position_or_on_its_own_side_is_refused() -> None:
    account = account_on()
    with refused(110017):
        account.place_order(limit_order(SELL, "101000", reduce_only=True), T0)
    account.place_order(market_order(BUY), T0)
    with refused(110017):
        account.place_order(limit_order(BUY, "99000", reduce_only=True), T0)
    with refused(10001):
        account.place_order(limit_order(SELL, "101000", reduce_only=True, stop_loss=D(102_000)), T0)


def test_margin_is_held_for_an_order_and_freed_with_it() -> None:
    account = account_on()
    order = account.place_order(limit_order(BUY, "99000", "0.5"), T0)
    value = D(49_500)
    held = value / 10 + value * D("0.00055") * D("0.9")
    assert account.figures(T0).initial_margin == account.figures(T0).order_margin["USDT"] == held
    assert account.figures(T0).available == 10_000 - held
    with refused(110007):
        account.place_order(limit_order(BUY, "99000", "0.6"), T0)
    account.cancel(BTC, order.order_id, "", T0)
    assert account.figures(T0).available == 10_000
    account.place_order(limit_order(BUY, "99000", "0.6"), T0)


def test_margin_is_held_for_the_larger_side_only() -> None:
    account = account_on()
    account.place_order(limit_order(BUY, "99000", "0.5"), T0)
    before = account.figures(T0).initial_margin
    account.place_order(limit_order(SELL, "101000", "0.4"), T0)
    assert account.figures(T0).initial_margin == before
    account.place_order(limit_order(SELL, "101000", "0.2"), T0)
    value = D("0.6") * 101_000
    assert account.figures(T0).initial_margin == value / 10 + value * D("0.00055") * D("1.1")


def test_orders_that_close_hold_no_margin_until_they_would_turn_the_position() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.3"), T0)
    bare = account.figures(T0).initial_margin
    for _ in range(2):
        account.place_order(limit_order(SELL, "100500", "0.3"), T0)
    assert bare <= account.figures(T0).initial_margin < bare + 40
    account.place_order(limit_order(SELL, "100500", "0.3"), T0)
    assert account.figures(T0).initial_margin > bare + 2900
    for _ in range(2):
        account.place_order(limit_order(SELL, "100500", "0.1"), T0)
    with refused(110007):
        for _ in range(20):
            account.place_order(limit_order(SELL, "100500", "0.3"), T0)
    assert account.figures(T0).initial_margin <= account.figures(T0).margin_balance


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_marketable_order_needs_the_margin_of_what_it_will_pay_and_not_of_its_limit(side: Side) -> None:
    account = account_on(deposit="1010")
    worst = {BUY: "110000", SELL: "90000"}[side]
    with refused(110007):
        account.place_order(limit_order(side, worst, "0.1"), T0)
    account.place_order(limit_order(side, worst, "0.098"), T0)
    figures = account.figures(T0)
    assert figures.initial_margin <= figures.margin_balance


def test_raising_an_order_needs_margin_for_the_difference_only() -> None:
    account = account_on()
    order = account.place_order(limit_order(BUY, "99000", "0.9"), T0)
    amend(account, order.order_id, qty="1")
    with refused(110007):
        amend(account, order.order_id, qty="1.1")
    amend(account, order.order_id, qty="0.1")
    assert account.figures(T0).initial_margin == 990 + 9900 * D("0.00055") * D("0.9")


def test_small_orders_are_refused_by_value_unless_they_close() -> None:
    account = account_on()
    with refused(110094):
        account.place_order(limit_order(BUY, "0.05", "90", symbol="ALTUSDT"), T0)
    account.place_order(market_order(BUY, "200", symbol="ALTUSDT"), T0)
    account.place_order(limit_order(SELL, "0.052", "90", symbol="ALTUSDT"), T0)


@pytest.mark.slow
def test_five_hundred_active_orders_are_the_most_of_a_symbol() -> None:
    account = account_on(deposit="1000000")
    for _ in range(500):
        account.place_order(limit_order(BUY, "99000", "0.001"), T0)
    with refused(110020):
        account.place_order(limit_order(BUY, "99000", "0.001"), T0)
    account.place_order(market_order(BUY, "1000", symbol="ALTUSDT"), T0)
    account.cancel(BTC, account.open_orders()[0].order_id, "", T0)
    account.place_order(limit_order(BUY, "99000", "0.001"), T0)


def test_cancel_all_leaves_what_was_not_chosen() -> None:
    account = account_on()
    first, second = (account.place_order(limit_order(BUY, "99000"), T0) for _ in range(2))
    account.cancel_all([first], T0 + 1)
    assert ended(first) == (OrderStatus.CANCELLED, "CancelByUser") and second.is_open


def test_a_sell_amended_to_below_the_market_needs_the_margin_of_its_fill() -> None:
    account = account_on(deposit="1010")
    order = account.place_order(limit_order(SELL, "100500", "0.099"), T0)
    with refused(110007):
        amend(account, order.order_id, qty="0.101", price="97000")
    amend(account, order.order_id, qty="0.098", price="97000")
    figures = account.figures(T0)
    assert figures.initial_margin <= figures.margin_balance and figures.positions
