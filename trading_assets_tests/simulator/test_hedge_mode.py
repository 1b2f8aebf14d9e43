"""Hedge mode: switching, a long and a short of one symbol side by side, their orders, stops and funding."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import StopCommand
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Params
from trading_assets.simulator.rest.position import position_list
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.accounts import (
    BTC,
    FLAT,
    account_on,
    by_kind,
    ended,
    limit_order,
    market_order,
    refused,
    straight,
    trigger_order,
)
from trading_assets_tests.simulator.fake_market import HOUR, T0, FakeMarket

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
LONG, SHORT = 1, 2


def hedged(market: FakeMarket | None = None, deposit: str = "10000") -> AccountEngine:
    account = account_on(market, deposit)
    account.switch_mode(BTC, "", hedge=True)
    return account


def both_legs(account: AccountEngine, **more: Any) -> AccountEngine:
    account.place_order(market_order(BUY, "0.03", position_idx=LONG, **more.get("long", {})), T0)
    account.place_order(market_order(SELL, "0.02", position_idx=SHORT, **more.get("short", {})), T0)
    return account


def sizes(account: AccountEngine) -> tuple[Decimal, Decimal]:
    return account.state.look_up(BTC, LONG).size, account.state.look_up(BTC, SHORT).size


def test_the_mode_is_switched_by_symbol_and_told_unchanged() -> None:
    account = account_on()
    with refused(110025):
        account.switch_mode(BTC, "", hedge=False)
    account.switch_mode(BTC, "", hedge=True)
    with refused(110025):
        account.switch_mode(BTC, "", hedge=True)
    assert account.state.is_hedged(BTC, "USDT") and not account.state.is_hedged("ALTUSDT", "USDT")
    account.switch_mode(BTC, "", hedge=False)
    assert not account.state.is_hedged(BTC, "USDT")


def test_the_mode_of_a_coin_is_that_of_all_its_symbols_until_one_is_switched_back() -> None:
    account = account_on()
    account.switch_mode("", "USDT", hedge=True)
    account.switch_mode("", "USDT", hedge=True)
    assert account.state.is_hedged("ALTUSDT", "USDT") and not account.state.is_hedged("BTCPERP", "USDC")
    account.switch_mode(BTC, "", hedge=False)
    assert not account.state.is_hedged(BTC, "USDT") and account.state.is_hedged("ALTUSDT", "USDT")
    account.switch_mode("", "USDT", hedge=True)
    assert account.state.is_hedged(BTC, "USDT")
    account.switch_mode("", "USDT", hedge=False)
    assert not account.state.is_hedged(BTC, "USDT") and not account.state.is_hedged("ALTUSDT", "USDT")


def test_a_symbol_switched_to_the_mode_it_has_is_told_so() -> None:
    account = account_on()
    with refused(110025):
        account.switch_mode(BTC, "", hedge=False)
    account.switch_mode(BTC, "", hedge=True)
    with refused(110025):
        account.switch_mode(BTC, "", hedge=True)


def test_open_positions_and_orders_forbid_the_switch_of_their_symbol() -> None:
    account = account_on()
    order = account.place_order(limit_order(BUY, "99000"), T0)
    with refused(110028):
        account.switch_mode(BTC, "", hedge=True)
    account.cancel(BTC, order.order_id, "", T0)
    account.place_order(market_order(BUY), T0)
    with refused(110024):
        account.switch_mode(BTC, "", hedge=True)
    account.place_order(market_order(SELL), T0)
    account.switch_mode(BTC, "", hedge=True)
    both_legs(account)
    with refused(110024):
        account.switch_mode(BTC, "", hedge=False)


def test_another_symbol_does_not_forbid_a_switch() -> None:
    account = account_on()
    account.place_order(market_order(BUY, "1000", symbol="ALTUSDT"), T0)
    account.switch_mode(BTC, "", hedge=True)
    assert account.state.is_hedged(BTC, "USDT")


def test_an_order_must_name_the_leg_in_hedge_mode_and_no_leg_in_one_way_mode() -> None:
    words = "position idx not match position mode"
    account = account_on()
    with refused(10001, words):
        account.place_order(market_order(BUY, position_idx=LONG), T0)
    account.switch_mode(BTC, "", hedge=True)
    with refused(10001, words):
        account.place_order(market_order(BUY), T0)
    with refused(10001, words):
        account.change_stops(StopCommand(BTC, stop_loss=D(90_000)), T0)
    account.place_order(market_order(BUY, position_idx=LONG), T0)
    with refused(10001, words):
        account.change_stops(StopCommand(BTC, stop_loss=D(90_000), take_profit=None), T0)


def test_both_legs_are_open_at_once_and_closed_each_by_itself() -> None:
    account = both_legs(hedged())
    assert sizes(account) == (D("0.03"), D("-0.02"))
    account.place_order(market_order(SELL, "0.01", position_idx=LONG), T0)
    account.place_order(market_order(BUY, "0.02", position_idx=SHORT, reduce_only=True), T0)
    assert sizes(account) == (D("0.02"), 0)
    assert [(row.side, row.closed_size) for row in account.state.closed] == [(SELL, D("0.01")), (BUY, D("0.02"))]
    assert [row.position_idx for row in account.state.executions] == [LONG, SHORT, LONG, SHORT]


def test_a_closing_order_is_cut_to_its_leg_and_never_turns_it() -> None:
    account = both_legs(hedged())
    order = account.place_order(market_order(SELL, "5", position_idx=LONG), T0)
    assert order.filled_qty == D("0.03") and sizes(account) == (0, D("-0.02"))
    for side, index in ((SELL, LONG), (BUY, SHORT)):
        if index == SHORT:
            account.place_order(market_order(BUY, "0", position_idx=SHORT, reduce_only=True, close_on_trigger=True), T0)
        with refused(110017):
            account.place_order(market_order(side, position_idx=index), T0)
    assert sizes(account) == (0, 0)


def test_reduce_only_on_the_opening_side_of_a_leg_is_refused() -> None:
    account = both_legs(hedged())
    with refused(110017):
        account.place_order(market_order(BUY, position_idx=LONG, reduce_only=True), T0)
    with refused(110017):
        account.place_order(market_order(SELL, position_idx=SHORT, reduce_only=True), T0)


def test_the_stops_of_each_leg_are_its_own() -> None:
    account = both_legs(
        hedged(straight(100_000, 98_000)),
        long={"stop_loss": D(99_000)},
        short={"stop_loss": D(101_000), "take_profit": D(97_000)},
    )
    command = StopCommand(BTC, SHORT, take_profit=D(98_500))
    account.change_stops(command, T0)
    account.settle(T0 + HOUR)
    assert sizes(account) == (0, 0)
    assert [row.side for row in account.state.closed] == [SELL, BUY]
    (missed,) = [order for order in account.state.orders.values() if order.status is OrderStatus.DEACTIVATED]
    assert (missed.position_idx, missed.stop_order_type, missed.cancel_type) == (
        SHORT,
        "StopLoss",
        "CancelByTpSlTsClear",
    )


def test_closing_one_leg_leaves_the_orders_of_the_other() -> None:
    account = both_legs(hedged(), long={"stop_loss": D(99_000)}, short={"stop_loss": D(101_000)})
    target = account.place_order(limit_order(BUY, "99000", position_idx=SHORT), T0)
    account.place_order(market_order(SELL, "0.03", position_idx=LONG), T0)
    stop = by_kind(account.open_orders(), "StopLoss")
    assert [order.position_idx for order in stop] == [SHORT] and target.is_open
    account.place_order(market_order(BUY, "0.02", position_idx=SHORT), T0)
    assert ended(target) == (OrderStatus.CANCELLED, "CancelByReduceOnly") and account.open_orders() == []


def test_margin_is_held_for_both_legs_and_for_the_orders_that_open_them() -> None:
    account = both_legs(hedged())
    held = account.figures(T0).initial_margin
    assert held == sum(item.initial_margin for item in account.figures(T0).positions) > 500
    account.place_order(limit_order(SELL, "101000", "0.03", position_idx=LONG), T0)
    assert account.figures(T0).initial_margin == held
    account.place_order(limit_order(BUY, "99000", "0.01", position_idx=LONG), T0)
    account.place_order(limit_order(SELL, "101000", "0.01", position_idx=SHORT), T0)
    assert account.figures(T0).initial_margin > held + 200


def test_the_long_pays_the_funding_that_the_short_receives() -> None:
    account = both_legs(hedged(FakeMarket(FLAT, funding=0.0001)))
    account.settle(T0 + 8 * HOUR)
    rows = [row for row in account.state.executions if row.exec_type == "Funding"]
    assert [(row.position_idx, row.side, row.qty, row.fee) for row in rows] == [
        (LONG, BUY, D("0.03"), D("0.3")),
        (SHORT, SELL, D("0.02"), D("-0.2")),
    ]


def test_leverage_is_that_of_both_legs() -> None:
    account = hedged()
    account.set_leverage(BTC, D(25), T0)
    both_legs(account)
    assert {account.state.look_up(BTC, index).leverage for index in (LONG, SHORT)} == {D(25)}
    account.set_leverage(BTC, D(5), T0)
    assert {account.state.look_up(BTC, index).leverage for index in (LONG, SHORT)} == {D(5)}


def test_the_position_list_has_both_rows_of_a_symbol() -> None:
    venue = Venue(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket(FLAT), "fake")

    def rows(**asked: str) -> list[tuple[object, object, object]]:
        listed: Any = position_list(venue, Params({"category": "linear", **asked}), T0)
        return [(row["positionIdx"], row["side"], row["size"]) for row in listed["list"]]

    assert rows(symbol=BTC) == [(0, "", "0")]
    venue.transact(lambda _: venue.engine.switch_mode(BTC, "", hedge=True))
    assert rows(symbol=BTC) == [(1, "", "0"), (2, "", "0")]
    venue.transact(lambda now: venue.engine.place_order(market_order(SELL, position_idx=SHORT), now))
    assert rows(symbol=BTC) == [(1, "", "0"), (2, "Sell", "0.01")]
    assert rows(settleCoin="USDT") == [(2, "Sell", "0.01")]
    venue.transact(lambda now: venue.engine.place_order(market_order(BUY, "0.03", position_idx=LONG), now))
    assert sorted(rows(settleCoin="USDT")) == [(1, "Buy", "0.03"), (2, "Sell", "0.01")]
    assert rows(symbol="ALTUSDT") == [(0, "", "0")]
    venue.close()


def test_hedge_mode_survives_a_restart(tmp_path: Path) -> None:
    def venue() -> Venue:
        return Venue(ServeConfig(home=tmp_path, clock=ClockSpec(ClockMode.MANUAL, T0)), straight(100_000, 98_000), "f")

    first = venue()
    first.transact(lambda _: first.engine.switch_mode("", "USDT", hedge=True))
    first.transact(lambda _: first.engine.switch_mode("ALTUSDT", "", hedge=False))
    first.transact(lambda _: both_legs(first.engine, long={"stop_loss": D(99_000)}))
    first.transact(lambda now: first.engine.place_order(trigger_order(BUY, "98500", 2, position_idx=SHORT), now))
    before = asdict(first.engine.state.header)
    first.close()
    again = venue()
    assert asdict(again.engine.state.header) == before and sizes(again.engine) == (D("0.03"), D("-0.02"))
    again.advance(lambda now: now + HOUR)
    assert sizes(again.engine) == (0, D("-0.01"))
    with refused(110024):
        again.transact(lambda _: again.engine.switch_mode(BTC, "", hedge=False))
    again.transact(lambda now: again.engine.place_order(market_order(BUY, "1000", symbol="ALTUSDT"), now))
    again.close()
