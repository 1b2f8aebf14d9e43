"""Conditional orders of the account engine: waiting for last, mark or index price, and what happens at the trigger."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import INDEX_PRICE, LAST_PRICE, MARK_PRICE, Amendment
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
    trigger_order,
)
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
RISE, FALL = 1, 2


class ThreePrices(FakeMarket):
    """BTCUSDT rests at 100000; mark and index price take their own steps, by minute."""

    def __init__(self, mark: list[float], index: list[float]) -> None:
        super().__init__({BTC: {T0: (100_000.0,) * 4}})
        self.own = {"mark": mark, "index": index}

    def _own(self, name: str, time_ms: int) -> float:
        prices = self.own[name]
        return prices[min((time_ms - T0) // MINUTE, len(prices) - 1)]

    def mark_price(self, symbol: str, time_ms: int) -> float:
        return self._own("mark", time_ms)

    def index_price(self, symbol: str, time_ms: int) -> float:
        return self._own("index", time_ms)


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    ("direction", "trigger", "way"),
    [(RISE, "101000", [100_000, 102_000]), (FALL, "99000", [100_000, 98_000])],
)
def test_a_conditional_market_order_is_filled_where_the_market_is_when_the_price_gets_there(
    side: Side, direction: int, trigger: str, way: list[float]
) -> None:
    account = account_on(straight(*way))
    order = account.place_order(trigger_order(side, trigger, direction, order_link_id="wait"), T0)
    assert (order.status, order.stop_order_type, order.price) == (OrderStatus.UNTRIGGERED, "Stop", 0)
    assert account.figures(T0).initial_margin == 0
    account.settle(T0 + HOUR)
    assert order.status is OrderStatus.FILLED
    assert T0 < order.updated_ms < T0 + MINUTE
    assert abs(order.filled_value / order.filled_qty - D(trigger)) < 2
    assert account.state.positions[BTC].side is side


def test_a_conditional_limit_order_goes_into_the_book_at_the_trigger_and_waits_there() -> None:
    account = account_on(straight(100_000, 101_500, 100_600, 100_400))
    order = account.place_order(trigger_order(BUY, "101000", RISE, order_type="Limit", price=D(100_500)), T0)
    account.settle(T0 + MINUTE)
    assert (order.status, order.filled_qty) == (OrderStatus.NEW, 0)
    assert account.figures(T0 + MINUTE).initial_margin > 0
    account.settle(T0 + HOUR)
    assert fills_of(account, order) == [(D(100_500), D("0.01"), True)]


@pytest.mark.parametrize(
    ("trigger_by", "moment"), [(LAST_PRICE, None), (MARK_PRICE, 2 * MINUTE), (INDEX_PRICE, 3 * MINUTE)]
)
def test_each_order_watches_its_own_price(trigger_by: str, moment: int | None) -> None:
    flat = 100_000.0
    market = ThreePrices(mark=[flat, flat, 101_000.0, flat], index=[flat, flat, flat, 101_000.0, flat])
    account = account_on(market)
    order = account.place_order(trigger_order(BUY, "101000", RISE, trigger_by=trigger_by), T0)
    account.settle(T0 + HOUR)
    if moment is None:
        assert order.status is OrderStatus.UNTRIGGERED
    else:
        assert (order.status, order.updated_ms) == (OrderStatus.FILLED, T0 + moment)


@pytest.mark.parametrize("trigger_by", [MARK_PRICE, INDEX_PRICE])
def test_once_in_the_book_an_order_is_filled_by_trades_whatever_price_it_was_triggered_by(trigger_by: str) -> None:
    deep = [100_000.0, 98_000.0, 90_000.0]
    account = account_on(ThreePrices(mark=deep, index=deep))
    command = trigger_order(BUY, "99000", FALL, order_type="Limit", price=D(95_000), trigger_by=trigger_by)
    order = account.place_order(command, T0)
    account.settle(T0 + HOUR)
    assert (order.status, order.filled_qty) == (OrderStatus.NEW, 0)


@pytest.mark.parametrize(
    ("trigger", "direction", "code", "words"),
    [
        ("101000", 0, 10001, "TriggerDirection"),
        ("101000", 3, 10001, "TriggerDirection"),
        ("99000", RISE, 110092, "expect Rising"),
        ("100000", RISE, 110092, "expect Rising"),
        ("101000", FALL, 110093, "expect Falling"),
        ("100000", FALL, 110093, "expect Falling"),
        ("101000.05", RISE, 10001, "triggerPrice"),
        ("-1", RISE, 10001, "triggerPrice"),
    ],
)
def test_a_trigger_that_contradicts_its_direction_is_refused(
    trigger: str, direction: int, code: int, words: str
) -> None:
    account = account_on()
    with refused(code, words):
        account.place_order(trigger_order(BUY, trigger, direction), T0)
    assert not account.state.orders


def test_the_direction_is_compared_with_the_watched_price() -> None:
    market = ThreePrices(mark=[102_000.0], index=[98_000.0])
    account = account_on(market)
    account.place_order(trigger_order(BUY, "101000", FALL, trigger_by=MARK_PRICE), T0)
    account.place_order(trigger_order(BUY, "99000", RISE, trigger_by=INDEX_PRICE), T0)
    with refused(110093, "MarkPrice"):
        account.place_order(trigger_order(BUY, "103000", FALL, trigger_by=MARK_PRICE), T0)
    with refused(110092, "IndexPrice"):
        account.place_order(trigger_order(BUY, "97000", RISE, trigger_by=INDEX_PRICE), T0)


def test_margin_is_asked_for_at_the_trigger_only() -> None:
    account = account_on(straight(100_000, 102_000))
    order = account.place_order(trigger_order(BUY, "101000", RISE, "400"), T0)
    assert account.figures(T0).available == 10_000
    account.settle(T0 + HOUR)
    assert (order.status, order.filled_qty) == (OrderStatus.CANCELLED, 0)
    assert order.cancel_type == "CancelByCannotAffordOrderCost"
    assert not account.state.executions


def test_ten_conditional_orders_are_the_most_of_a_symbol_and_stops_do_not_count() -> None:
    account = account_on()
    account.place_order(market_order(BUY, stop_loss=D(90_000), take_profit=D(110_000)), T0)
    for index in range(10):
        account.place_order(trigger_order(BUY, str(101_000 + index), RISE), T0)
    with refused(110009):
        account.place_order(trigger_order(BUY, "102000", RISE), T0)
    account.place_order(trigger_order(BUY, "0.06", RISE, "1000", symbol="ALTUSDT"), T0)
    account.place_order(limit_order(BUY, "99000"), T0)
    account.cancel(BTC, by_kind(account.open_orders(), "Stop")[-1].order_id, "", T0)
    account.place_order(trigger_order(BUY, "102000", RISE), T0)


def test_a_reduce_only_conditional_order_is_accepted_flat_and_cut_at_the_trigger() -> None:
    account = account_on(straight(100_000, 98_500))
    order = account.place_order(trigger_order(SELL, "99000", FALL, "5", reduce_only=True), T0)
    account.place_order(market_order(BUY, "0.03"), T0 + 1)
    account.settle(T0 + HOUR)
    assert (order.status, order.qty, order.filled_qty) == (OrderStatus.FILLED, D("0.03"), D("0.03"))
    assert account.state.positions[BTC].size == 0


@pytest.mark.parametrize("held", [None, SELL])
def test_a_reduce_only_conditional_order_ends_where_there_is_nothing_to_reduce(held: Side | None) -> None:
    account = account_on(straight(100_000, 98_500))
    order = account.place_order(trigger_order(SELL, "99000", FALL, reduce_only=True), T0)
    if held is not None:
        account.place_order(market_order(held), T0)
    before = len(account.state.executions)
    account.settle(T0 + HOUR)
    assert ended(order) == (OrderStatus.CANCELLED, "CancelByReduceOnly")
    assert len(account.state.executions) == before


@pytest.mark.parametrize("kind", ["conditional", "conditional limit", "limit"])
def test_stops_that_an_order_carries_appear_when_it_is_filled(kind: str) -> None:
    levels: dict[str, Any] = {"stop_loss": D(97_000), "take_profit": D(101_500), "order_link_id": "parent"}
    account = account_on(straight(100_000, 98_500, 98_400))
    command = {
        "conditional": trigger_order(BUY, "99000", FALL, **levels),
        "conditional limit": trigger_order(BUY, "99000", FALL, order_type="Limit", price=D(98_800), **levels),
        "limit": limit_order(BUY, "99000", **levels),
    }[kind]
    order = account.place_order(command, T0)
    assert account.open_orders() == [order] and (order.stop_loss, order.take_profit) == (D(97_000), D(101_500))
    account.settle(T0 + HOUR)
    target, stop = account.open_orders()
    assert (stop.stop_order_type, stop.trigger_price, stop.qty) == ("StopLoss", D(97_000), D("0.01"))
    assert (target.stop_order_type, target.trigger_price) == ("TakeProfit", D(101_500))
    assert {stop.parent_order_link_id, target.parent_order_link_id} == {"parent"}
    assert stop.created_ms == order.updated_ms


def test_stops_grow_with_every_later_fill_of_their_order() -> None:
    account = account_on(straight(100_000, 98_500), "2000000")
    order = account.place_order(limit_order(BUY, "99000", "7", stop_loss=D(90_000)), T0)
    sizes = []
    for minutes in (1, 2, 3):
        account.settle(T0 + minutes * MINUTE - 1)
        (stop,) = by_kind(account.open_orders(), "StopLoss")
        sizes.append(stop.qty)
        assert stop.qty == order.filled_qty == account.state.positions[BTC].size
    assert sizes == [D("3.086"), D("6.172"), D(7)]


def test_a_filled_order_whose_stop_is_already_behind_the_price_is_stopped_at_once() -> None:
    account = account_on(FakeMarket({BTC: {T0: (100_000.0,) * 4, T0 + MINUTE: (95_000.0,) * 4}}))
    account.place_order(limit_order(BUY, "99000", stop_loss=D(98_000)), T0)
    account.settle(T0 + HOUR)
    (row,) = account.state.closed
    assert (row.exit_price, row.created_ms) == (D("94999.9"), T0 + MINUTE + 1)


def test_amending_the_trigger_price_and_quantity() -> None:
    account = account_on(straight(100_000, 103_000))
    order = account.place_order(trigger_order(BUY, "101000", RISE), T0)
    change = Amendment(trigger_price=D(102_000), qty=D("0.02"), take_profit=D(105_000))
    account.amend(BTC, order.order_id, "", change, T0 + 1)
    amended = account.state.orders[order.order_id]
    assert (amended.trigger_price, amended.qty, amended.status) == (D(102_000), D("0.02"), OrderStatus.UNTRIGGERED)
    with refused(110092):
        account.amend(BTC, order.order_id, "", Amendment(trigger_price=D(99_000)), T0 + 1)
    with refused(10001):
        account.amend(BTC, order.order_id, "", Amendment(price=D(99_000)), T0 + 1)
    with refused(10001, "order not modified"):
        account.amend(BTC, order.order_id, "", Amendment(trigger_price=D("102000.0")), T0 + 1)
    account.settle(T0 + HOUR)
    assert abs(amended.filled_value / amended.filled_qty - 102_000) < 2
    assert [one.trigger_price for one in account.open_orders()] == [D(105_000)]
    with refused(110008):
        account.amend(BTC, order.order_id, "", Amendment(trigger_price=D(104_000)), T0 + HOUR)


def test_an_amended_stop_of_a_position_is_the_position_s_stop() -> None:
    account = account_on(straight(100_000, 98_400))
    account.place_order(market_order(BUY, stop_loss=D(97_000)), T0)
    (stop,) = account.open_orders()
    account.amend(BTC, stop.order_id, "", Amendment(trigger_price=D(98_500)), T0 + 1)
    assert account.stop_price(account.state.positions[BTC], "StopLoss") == D(98_500)
    with refused(10001, "whole position"):
        account.amend(BTC, stop.order_id, "", Amendment(qty=D("0.02")), T0 + 1)
    account.settle(T0 + HOUR)
    (row,) = account.state.closed
    assert 0 <= 98_500 - row.exit_price < 1


def test_a_cancelled_conditional_order_is_deactivated_and_never_triggered() -> None:
    account = account_on(straight(100_000, 103_000))
    order = account.place_order(trigger_order(BUY, "101000", RISE), T0)
    account.cancel(BTC, order.order_id, "", T0 + 1)
    account.settle(T0 + HOUR)
    assert ended(order) == (OrderStatus.DEACTIVATED, "CancelByUser") and not account.state.executions


def test_orders_that_wait_for_one_price_are_triggered_oldest_first() -> None:
    account = account_on(straight(100_000, 103_000))
    orders = [account.place_order(trigger_order(BUY, "101000", RISE), T0 + index) for index in range(3)]
    account.settle(T0 + HOUR)
    assert [row.order_id for row in account.state.executions] == [order.order_id for order in orders]
    assert len({order.updated_ms for order in orders}) == 1


def test_looking_often_changes_nothing_about_conditional_orders() -> None:
    def live(span: int) -> list[dict[str, object]]:
        account = account_on(FakeMarket())
        account.place_order(trigger_order(BUY, "100200", RISE, trigger_by=MARK_PRICE, stop_loss=D(99_000)), T0)
        account.place_order(trigger_order(SELL, "99500", FALL, order_type="Limit", price=D(99_800)), T0)
        for moment in range(T0, T0 + HOUR + 1, span):
            account.settle(moment)
        return [asdict(order) for order in account.state.orders.values()]

    assert live(HOUR) == live(9_000)
