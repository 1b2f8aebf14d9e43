"""Partial stops and targets: pairs of their own size, of which one cancels the other, beside the Full ones."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import Amendment, Order, StopCommand
from trading_assets.simulator.account.words import OrderStatus
from trading_assets_tests.simulator.accounts import (
    BTC,
    account_on,
    by_kind,
    ended,
    fills_of,
    limit_order,
    market_order,
    refused,
    straight,
)
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
STOP, TARGET = "PartialStopLoss", "PartialTakeProfit"
PAIR: dict[str, Any] = {"tpsl_mode": "Partial", "stop_loss": D(99_000), "take_profit": D(101_000)}


def add(engine: AccountEngine, size: str | None = None, now: int = T0, **more: Any) -> None:
    command = StopCommand(BTC, tpsl_mode="Partial", size=None if size is None else D(size), **more)
    engine.change_stops(command, now)


def pair(engine: AccountEngine) -> tuple[Order, Order]:
    (stop,), (target,) = by_kind(engine.open_orders(), STOP), by_kind(engine.open_orders(), TARGET)
    return stop, target


def test_a_pair_at_create_has_the_size_of_its_order() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    account.place_order(market_order(BUY, "0.02", order_link_id="part", **PAIR), T0)
    stop, target = pair(account)
    for order, kind in ((stop, STOP), (target, TARGET)):
        assert (order.qty, order.side, order.status) == (D("0.02"), SELL, OrderStatus.UNTRIGGERED)
        assert (order.tpsl_mode, order.create_type) == ("Partial", f"CreateBy{kind}")
        assert (order.reduce_only, order.parent_order_link_id, order.order_link_id) == (True, "part", "")
    position = account.state.positions[BTC]
    assert (position.stop_loss_id, position.take_profit_id) == ("", "")


@pytest.mark.parametrize(
    ("way", "filled", "other", "cancel_type"),
    [
        ([100_000, 102_000], TARGET, STOP, "CancelByOCOSlCanceledByTpTriggered"),
        ([100_000, 98_000], STOP, TARGET, "CancelByOCOTpCanceledBySlTriggered"),
    ],
)
def test_one_of_a_pair_cancels_the_other_and_leaves_the_rest_of_the_position(
    way: list[float], filled: str, other: str, cancel_type: str
) -> None:
    account = account_on(straight(*way))
    account.place_order(market_order(BUY, "0.05"), T0)
    account.place_order(market_order(BUY, "0.02", **PAIR), T0)
    account.settle(T0 + HOUR)
    (one,), (two,) = (
        by_kind(list(account.state.orders.values()), filled),
        by_kind(list(account.state.orders.values()), other),
    )
    assert (one.status, one.filled_qty) == (OrderStatus.FILLED, D("0.02"))
    assert ended(two) == (OrderStatus.DEACTIVATED, cancel_type)
    assert account.state.positions[BTC].size == D("0.05") and account.open_orders() == []


def test_pairs_do_not_touch_each_other() -> None:
    account = account_on(straight(100_000, 101_500))
    account.place_order(market_order(BUY, "0.05"), T0)
    add(account, "0.01", take_profit=D(101_000), stop_loss=D(99_000))
    add(account, "0.02", take_profit=D(102_000), stop_loss=D(98_000))
    account.settle(T0 + HOUR)
    stop, target = pair(account)
    assert (stop.qty, target.qty, target.trigger_price) == (D("0.02"), D("0.02"), D(102_000))
    assert account.state.positions[BTC].size == D("0.04")


def test_trading_stop_adds_a_pair_each_time_and_of_the_whole_position_without_a_size() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    add(account, stop_loss=D(99_000))
    add(account, "9", stop_loss=D(99_000))
    add(account, "0.01", take_profit=D(101_000))
    assert [order.qty for order in by_kind(account.open_orders(), STOP)] == [D("0.05"), D("0.05")]
    assert [order.qty for order in by_kind(account.open_orders(), TARGET)] == [D("0.01")]


@pytest.mark.parametrize(
    ("size", "changes", "code"),
    [
        ("0.01", {}, 34040),
        ("0.01", {"stop_loss": D(0)}, 34040),
        ("0.01", {"stop_loss": D(101_000)}, 10001),
        ("0.01", {"take_profit": D(99_000)}, 10001),
        ("0.01", {"take_profit": D("101000.05")}, 10001),
        ("0.01", {"take_profit": D(101_000), "tp_limit_price": D("101000.05")}, 10001),
        ("0.01", {"stop_loss": D(99_000), "sl_limit_price": D(-1)}, 10001),
        ("0.0105", {"stop_loss": D(99_000)}, 10001),
        ("0", {"stop_loss": D(99_000)}, 10001),
    ],
)
def test_a_part_that_is_refused_adds_nothing(size: str, changes: dict[str, Any], code: int) -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    with refused(code):
        add(account, size, **changes)
    assert account.open_orders() == []


def test_an_order_with_a_limit_exit_off_the_tick_is_refused() -> None:
    account = account_on()
    with refused(10001, "tpLimitPrice"):
        account.place_order(market_order(BUY, **PAIR, tp_limit_price=D("101000.05")), T0)
    assert not account.state.orders


def test_a_part_needs_a_position() -> None:
    with refused(10001, "zero position"):
        add(account_on(), "0.01", stop_loss=D(99_000))


def test_a_target_with_a_limit_price_rests_from_its_trigger_and_is_filled_as_maker() -> None:
    account = account_on(straight(100_000, 101_200, 102_000))
    account.place_order(market_order(BUY, "0.02", **PAIR, tp_limit_price=D(101_500)), T0)
    (target,) = by_kind(account.open_orders(), TARGET)
    assert (target.order_type, target.price, target.time_in_force) == ("Limit", D(101_500), "GTC")
    account.settle(T0 + MINUTE)
    assert (target.status, target.filled_qty) == (OrderStatus.NEW, 0)
    assert by_kind(account.open_orders(), STOP) == []
    account.settle(T0 + HOUR)
    assert fills_of(account, target) == [(D(101_500), D("0.02"), True)]
    assert account.state.positions[BTC].size == 0


def test_a_stop_with_a_limit_price_takes_what_it_may() -> None:
    account = account_on(straight(100_000, 98_500))
    account.place_order(market_order(BUY, "0.02", **PAIR, sl_limit_price=D(98_900)), T0)
    account.settle(T0 + HOUR)
    (stop,) = by_kind(list(account.state.orders.values()), STOP)
    assert stop.status is OrderStatus.FILLED
    assert stop.filled_value / stop.filled_qty > 98_900


def test_parts_shrink_to_what_is_left_and_end_with_the_position() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    add(account, "0.04", take_profit=D(101_000), stop_loss=D(99_000))
    stop, target = pair(account)
    account.place_order(market_order(SELL, "0.005"), T0)
    assert (stop.qty, target.qty) == (D("0.04"), D("0.04"))
    account.place_order(market_order(SELL, "0.025"), T0)
    assert (stop.qty, target.qty) == (D("0.02"), D("0.02"))
    account.place_order(market_order(BUY, "0.05"), T0)
    assert (stop.qty, target.qty) == (D("0.02"), D("0.02"))
    account.place_order(market_order(SELL, "0.07"), T0)
    assert {ended(order) for order in (stop, target)} == {(OrderStatus.DEACTIVATED, "CancelByTpSlTsClear")}


def test_turning_the_position_clears_its_parts() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.02", **PAIR), T0)
    stop, target = pair(account)
    account.place_order(market_order(SELL, "0.05", tpsl_mode="Partial", stop_loss=D(101_000)), T0)
    assert {ended(order) for order in (stop, target)} == {(OrderStatus.DEACTIVATED, "CancelByTpSlTsClear")}
    (new,) = account.open_orders()
    assert (new.side, new.qty, new.stop_order_type) == (BUY, D("0.03"), STOP)


def test_a_part_grows_with_later_fills_of_its_own_order() -> None:
    account = account_on(straight(100_000, 98_500), "2000000")
    account.place_order(limit_order(BUY, "99000", "7", tpsl_mode="Partial", stop_loss=D(90_000)), T0)
    account.settle(T0 + MINUTE - 1)
    (first,) = by_kind(account.open_orders(), STOP)
    assert first.qty == D("3.086")
    account.settle(T0 + HOUR)
    assert by_kind(account.open_orders(), STOP) == [first] and first.qty == 7


def test_twenty_partial_orders_are_the_most_of_a_position() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "0.05"), T0)
    for _ in range(10):
        add(account, "0.01", take_profit=D(101_000), stop_loss=D(99_000))
    with refused(110061):
        add(account, "0.01", stop_loss=D(99_000))
    with refused(110061):
        account.place_order(market_order(BUY, **PAIR), T0)
    account.cancel(BTC, account.open_orders()[0].order_id, "", T0)
    with refused(110061):
        account.place_order(market_order(BUY, **PAIR), T0)
    account.place_order(market_order(BUY, tpsl_mode="Partial", stop_loss=D(99_000)), T0)


def test_full_and_partial_live_together_and_the_full_stop_takes_what_the_parts_left() -> None:
    account = account_on(straight(100_000, 101_500, 97_000))
    account.place_order(market_order(BUY, "0.05", stop_loss=D(98_000)), T0)
    add(account, "0.02", take_profit=D(101_000), stop_loss=D(97_500))
    (full,) = by_kind(account.open_orders(), "StopLoss")
    account.settle(T0 + MINUTE)
    assert full.qty == D("0.03") == account.state.positions[BTC].size
    account.settle(T0 + HOUR)
    assert (full.status, full.filled_qty) == (OrderStatus.FILLED, D("0.03"))
    assert [row.closed_size for row in account.state.closed] == [D("0.02"), D("0.03")]
    assert account.open_orders() == []


def test_the_full_stop_clears_the_parts() -> None:
    account = account_on(straight(100_000, 97_000))
    account.place_order(market_order(BUY, "0.05", stop_loss=D(98_000)), T0)
    add(account, "0.02", take_profit=D(101_000), stop_loss=D(97_500))
    stop, target = pair(account)
    account.settle(T0 + HOUR)
    assert {ended(order) for order in (stop, target)} == {(OrderStatus.DEACTIVATED, "CancelByTpSlTsClear")}
    assert account.state.positions[BTC].size == 0


def test_a_part_may_be_amended_but_not_beyond_the_position() -> None:
    account = account_on(straight(100_000, 98_000))
    account.place_order(market_order(BUY, "0.05"), T0)
    add(account, "0.02", stop_loss=D(99_000))
    (stop,) = account.open_orders()
    account.amend(BTC, stop.order_id, "", Amendment(qty=D("0.03"), trigger_price=D(98_500)), T0)
    assert account.open_orders()[0].qty == D("0.03")
    account.amend(BTC, stop.order_id, "", Amendment(qty=D(3)), T0)
    assert account.open_orders()[0].qty == D("0.05")
    account.settle(T0 + HOUR)
    assert account.state.positions[BTC].size == 0


def test_two_parts_of_the_whole_close_it_once() -> None:
    account = account_on(straight(100_000, 98_000))
    account.place_order(market_order(BUY, "0.05"), T0)
    add(account, stop_loss=D(99_000))
    add(account, stop_loss=D(99_000))
    account.settle(T0 + HOUR)
    assert [row.closed_size for row in account.state.closed] == [D("0.05")]
    assert account.state.positions[BTC].size == 0 and account.open_orders() == []
