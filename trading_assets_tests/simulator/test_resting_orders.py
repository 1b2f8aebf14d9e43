"""What Bybit does to orders that rest: own orders that meet, commands that come late, the venue's cancellations."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import (
    STOP_LOSS,
    Amendment,
    OrderFault,
)
from trading_assets.simulator.account.state import Record
from trading_assets.simulator.account.words import OrderStatus
from trading_assets_tests.simulator.accounts import (
    BTC,
    account_on,
    ended,
    fills_of,
    limit_order,
    market_order,
    refused,
    straight,
    trigger_order,
)
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
LATE = OrderFault(act_after_ms=MINUTE)


@pytest.mark.parametrize(
    ("smp_type", "maker", "taker"),
    [
        ("CancelMaker", "CancelBySmp", "UNKNOWN"),
        ("CancelTaker", "UNKNOWN", "CancelBySmp"),
        ("CancelBoth", "CancelBySmp", "CancelBySmp"),
    ],
)
def test_own_orders_that_would_meet_end_as_the_incoming_one_says(smp_type: str, maker: str, taker: str) -> None:
    account = account_on()
    resting = account.place_order(limit_order(SELL, "100000.1", smp_type="CancelBoth"), T0)
    incoming = account.place_order(limit_order(BUY, "100000.1", smp_type=smp_type), T0)
    assert (resting.cancel_type, incoming.cancel_type) == (maker, taker)
    ended_by_it = [order for order in (resting, incoming) if order.cancel_type == "CancelBySmp"]
    assert all(order.reject_reason == "EC_BySelfMatch" and order.filled_qty == 0 for order in ended_by_it)
    assert incoming.is_open is False
    assert resting.is_open is (maker == "UNKNOWN")


def test_own_orders_trade_with_each_other_unless_the_incoming_one_forbids_it() -> None:
    account = account_on()
    resting = account.place_order(limit_order(SELL, "100000.1", "0.02", smp_type="CancelTaker"), T0)
    incoming = account.place_order(limit_order(BUY, "100000.1", "0.01"), T0)
    assert fills_of(account, resting) == [(D("100000.1"), D("0.01"), True)]
    assert fills_of(account, incoming) == [(D("100000.1"), D("0.01"), False)]
    assert (resting.status, incoming.status) == (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED)
    assert account.state.look_up(BTC).size == 0


def test_a_taker_takes_what_is_cheaper_than_its_own_order_first() -> None:
    account = account_on()
    account.place_order(limit_order(SELL, "100000.2", "0.02"), T0)
    taking = account.place_order(market_order(BUY, "0.02", smp_type="CancelTaker"), T0)
    assert fills_of(account, taking) == [(D("100000.1"), D("0.02"), False)]  # the market's first level is enough
    assert taking.cancel_type == "UNKNOWN"


def test_a_post_only_order_does_not_meet_an_own_order() -> None:
    account = account_on()
    account.place_order(limit_order(SELL, "100000.1"), T0)
    late = account.place_order(limit_order(BUY, "100000.1", time_in_force="PostOnly"), T0)
    assert (late.status, late.reject_reason) == (OrderStatus.CANCELLED, "EC_PostOnlyWillTakeLiquidity")


def test_a_cancellation_that_was_accepted_loses_against_the_fill_and_a_second_message_says_so() -> None:
    account = account_on(straight(100_000, 98_999))
    account.state.journal = []
    order = account.place_order(limit_order(BUY, "99000"), T0)
    account.order_fault = LATE
    account.cancel(BTC, order.order_id, "", T0)
    assert order.is_open
    with refused(110079):
        account.cancel(BTC, order.order_id, "", T0)
    account.settle(T0 + HOUR)
    assert (order.status, order.filled_qty) == (OrderStatus.FILLED, D("0.01"))
    told = [
        (record.status, record.cancel_type, record.reject_reason)
        for batch in account.state.journal
        for record in batch.records
        if _is(record, order.order_id)
    ]
    assert told[-2:] == [
        (OrderStatus.FILLED, "UNKNOWN", "EC_NoError"),
        (OrderStatus.FILLED, "CancelByUser", "EC_OrigClOrdIDDoesNotExist"),
    ]


def _is(record: Record, order_id: str) -> bool:
    return getattr(record, "order_id", "") == order_id and hasattr(record, "cancel_type")


def test_a_cancellation_and_a_change_that_come_late_take_effect_where_the_order_is_still_open() -> None:
    account = account_on()
    first, second = (account.place_order(limit_order(BUY, "99000"), T0) for _ in range(2))
    account.order_fault = LATE
    account.cancel(BTC, first.order_id, "", T0)
    account.amend(BTC, second.order_id, "", Amendment(price=D(98_000)), T0)
    account.settle(T0 + MINUTE - 1)
    assert first.is_open and account.state.orders[second.order_id].price == 99_000
    account.settle(T0 + MINUTE)
    assert ended(first) == (OrderStatus.CANCELLED, "CancelByUser")
    assert account.state.orders[second.order_id].price == 98_000
    assert account.state.orders[second.order_id].due_ms == 0


def test_a_change_that_comes_late_is_void_when_the_order_was_filled_before() -> None:
    account = account_on(straight(100_000, 98_999))
    order = account.place_order(limit_order(BUY, "99000"), T0)
    account.order_fault = LATE
    account.amend(BTC, order.order_id, "", Amendment(qty=D("0.02")), T0)
    account.settle(T0 + HOUR)
    assert (order.status, order.filled_qty, order.reject_reason) == (OrderStatus.FILLED, D("0.01"), "EC_NoError")


def test_who_asked_for_it_loses_what_waits_when_no_connection_is_left_for_the_window() -> None:
    account = account_on()
    account.state.header.dcp_windows = {"DERIVATIVES": 10}
    account.place_order(market_order(BUY, stop_loss=D(90_000)), T0)
    order = account.place_order(limit_order(BUY, "99000"), T0)
    account.watch_connection(is_connected=False, now_ms=T0)
    account.watch_connection(is_connected=True, now_ms=T0 + 9_000)
    account.settle(T0 + MINUTE)
    assert order.is_open
    account.watch_connection(is_connected=False, now_ms=T0 + MINUTE)
    account.settle(T0 + MINUTE + 10_000)
    assert ended(order) == (OrderStatus.CANCELLED, "CancelByDCP")
    assert account.stop_price(account.state.look_up(BTC), STOP_LOSS) == 90_000


def test_without_a_window_nothing_is_cancelled_at_a_disconnection() -> None:
    account = account_on()
    order = account.place_order(limit_order(BUY, "99000"), T0)
    account.watch_connection(is_connected=False, now_ms=T0)
    account.settle(T0 + HOUR)
    assert order.is_open


def test_limits_of_orders_are_the_contracts_and_may_be_lowered() -> None:
    account = account_on()
    market = account.market
    for _ in range(2):
        account.place_order(limit_order(BUY, "99000"), T0)
    market.contracts = {**market.contracts, BTC: replace(market.contracts[BTC], max_active=2, max_conditional=0)}
    with refused(110020, "more than 2 active"):
        account.place_order(limit_order(BUY, "99000"), T0)
    with refused(110009):
        account.place_order(trigger_order(BUY, "101000", 1), T0)


def test_after_a_change_of_the_tick_an_older_order_can_be_cancelled_and_not_changed() -> None:
    account = account_on()
    market = account.market
    order = account.place_order(limit_order(BUY, "99000.1"), T0)
    market.contracts = {**market.contracts, BTC: replace(market.contracts[BTC], tick_size=D(1), price_scale=0)}
    with refused(10001, "tickSize"):
        account.amend(BTC, order.order_id, "", Amendment(qty=D("0.02")), T0)
    account.amend(BTC, order.order_id, "", Amendment(price=D(99_001)), T0)
    account.cancel(BTC, order.order_id, "", T0)
    assert ended(account.state.orders[order.order_id]) == (OrderStatus.CANCELLED, "CancelByUser")


def test_a_price_beyond_the_band_is_moved_or_refused_as_the_account_has_it() -> None:
    account = account_on(deposit="100000")
    moved = account.place_order(limit_order(BUY, "150000", time_in_force="IOC"), T0)
    assert moved.price < 150_000
    account.state.header.moves_prices = False
    for side, price, code in ((BUY, "150000", 110120), (SELL, "50000", 110121)):
        with refused(code):
            account.place_order(limit_order(side, price), T0)
    resting = account.place_order(limit_order(BUY, "90000"), T0)
    with refused(110120):
        account.amend(BTC, resting.order_id, "", Amendment(price=D(150_000)), T0)
    assert account.state.orders[resting.order_id].price == 90_000


def test_the_stop_of_an_order_that_adds_replaces_that_of_the_whole_position() -> None:
    account = account_on(deposit="100000")
    account.place_order(market_order(BUY, stop_loss=D(95_000)), T0)
    account.place_order(market_order(BUY, stop_loss=D(90_000)), T0)
    position = account.state.look_up(BTC)
    assert (position.size, account.stop_price(position, STOP_LOSS)) == (D("0.02"), D(90_000))
