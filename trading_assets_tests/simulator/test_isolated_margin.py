"""Isolated margin: what a position may lose, what backs new ones, and switching from and to cross margin."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.margin import initial_margin, liquidation_price
from trading_assets.simulator.account.models import CROSS, ISOLATED, OrderCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Refusal, round8
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket, Minute

D = Decimal
FALL = T0 + 30 * MINUTE


def market(btc_to: float, alt_to: float = 0.05) -> FakeMarket:
    """Prices stand for half an hour, then each goes straight to its new level within one minute."""

    def one(before: float, after: float) -> dict[int, Minute]:
        third = (after - before) / 3
        return {T0: (before,) * 4, FALL: (before, before + third, after - third, after)}

    return FakeMarket({"BTCUSDT": one(100_000.0, btc_to), "ALTUSDT": one(0.05, alt_to)})


def engine(on: FakeMarket, mode: str = ISOLATED, deposit: str = "10000") -> AccountEngine:
    account = AccountEngine(on, AccountState.opened("test", T0, {"USDT": D(deposit)}))
    account.set_margin_mode(mode, T0)
    return account


def wallet(account: AccountEngine) -> Decimal:
    return account.state.balances["USDT"].wallet


@pytest.mark.parametrize(("side", "to"), [(Side.BUY, 70_000.0), (Side.SELL, 130_000.0)])
def test_a_liquidated_position_loses_its_own_margin_and_no_more(side: Side, to: float) -> None:
    account = engine(market(to))
    account.place_order(OrderCommand("BTCUSDT", side, D("0.1")), T0)
    account.place_order(OrderCommand("ALTUSDT", Side.BUY, D(1000)), T0)
    before = wallet(account)
    margin = next(item for item in account.figures(T0).positions if item.position.symbol == "BTCUSDT").initial_margin
    account.settle(T0 + HOUR)
    assert [position.symbol for position in account.state.open_positions()] == ["ALTUSDT"]
    (lost,) = (row for row in account.state.executions if row.exec_type == "BustTrade")
    assert lost.symbol == "BTCUSDT" and FALL < lost.time_ms < FALL + MINUTE
    assert abs(before - margin - wallet(account)) < D("0.02")  # the takeover price is rounded to a tick


def test_the_same_loss_leaves_a_cross_position_open_while_the_account_can_bear_it() -> None:
    account = engine(market(70_000.0), CROSS)
    account.place_order(OrderCommand("BTCUSDT", Side.BUY, D("0.1")), T0)
    account.settle(T0 + HOUR)
    assert account.state.positions["BTCUSDT"].size == D("0.1")


@pytest.mark.parametrize("side", list(Side))
def test_at_its_liquidation_price_margin_and_loss_equal_the_maintenance_margin(side: Side) -> None:
    account = engine(market(100_000.0))
    account.place_order(OrderCommand("BTCUSDT", side, D("0.1")), T0)
    account.place_order(OrderCommand("ALTUSDT", Side.BUY, D(10_000)), T0)
    figures = account.figures(T0)
    item = next(item for item in figures.positions if item.position.symbol == "BTCUSDT")
    price = liquidation_price(figures, item)
    assert price is not None
    moved = (price - item.mark) * (1 if side is Side.BUY else -1) * D("0.1")
    assert abs(item.isolated_equity + moved - item.maintenance_margin * price / item.mark) < D("0.0001")
    assert abs(price / item.mark - 1) < D("0.1")  # of leverage 10


def test_profit_backs_no_other_position_and_margin_stays_that_of_the_entry() -> None:
    account = engine(market(120_000.0), deposit="1100")
    account.place_order(OrderCommand("BTCUSDT", Side.BUY, D("0.1")), T0)
    account.settle(T0 + HOUR)
    figures = account.figures(T0 + HOUR)
    (item,) = figures.positions
    assert item.unrealised == D("1999.99")
    assert item.initial_margin == initial_margin(item.position.entry_value, D(10), Side.BUY)
    assert figures.available == wallet(account) - item.initial_margin < 100
    with pytest.raises(Refusal) as caught:
        account.place_order(OrderCommand("ALTUSDT", Side.BUY, D(20_000)), T0 + HOUR)
    assert caught.value.code == 110007
    account.set_margin_mode(CROSS, T0 + HOUR)
    placed = account.place_order(OrderCommand("ALTUSDT", Side.BUY, D(20_000)), T0 + HOUR)
    assert placed.status is OrderStatus.FILLED


def test_orders_of_other_symbols_outlive_a_liquidation() -> None:
    account = engine(market(70_000.0))
    account.place_order(OrderCommand("BTCUSDT", Side.BUY, D("0.1")), T0)
    resting = OrderCommand("ALTUSDT", Side.BUY, D(1000), order_type="Limit", price=D("0.048"))
    alt = account.place_order(resting, T0)
    deep = replace(resting, symbol="BTCUSDT", qty=D("0.001"), price=D("98000.0"), order_link_id="deep")
    btc = account.place_order(replace(deep, side=Side.SELL, price=D("102000.0")), T0)
    account.settle(T0 + HOUR)
    assert account.state.orders[alt.order_id].status is OrderStatus.NEW
    assert account.state.orders[btc.order_id].cancel_type == "CancelAllBeforeLiq"


def test_isolating_what_the_account_carries_is_refused_where_its_own_margin_would_not() -> None:
    account = engine(market(80_000.0), CROSS)
    account.place_order(OrderCommand("BTCUSDT", Side.BUY, D("0.1")), T0)
    account.settle(T0 + HOUR)
    with pytest.raises(Refusal) as caught:
        account.set_margin_mode(ISOLATED, T0 + HOUR)
    assert caught.value.code == 110073
    assert account.state.header.margin_mode == CROSS


def test_over_rest_the_mode_is_told_and_account_wide_figures_are_empty() -> None:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), market(100_000.0)) as running:
        session = pybit_session(running.url)
        for _ in range(2):
            assert session.set_margin_mode(setMarginMode="ISOLATED_MARGIN")["result"] == {"reasons": []}
        assert session.get_account_info()["result"]["marginMode"] == "ISOLATED_MARGIN"
        session.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.01")
        (row,) = session.get_wallet_balance(accountType="UNIFIED")["result"]["list"]
        assert row["totalAvailableBalance"] == row["totalInitialMargin"] == row["accountMMRate"] == ""
        assert D(row["totalEquity"]) > 9_990
        (position,) = session.get_positions(category="linear", symbol="BTCUSDT")["result"]["list"]
        assert position["positionIM"] == row["coin"][0]["totalPositionIM"]
        assert D(position["positionIM"]) == round8(initial_margin(D(position["positionValue"]), D(10), Side.BUY))
        assert 90_000 < D(position["liqPrice"]) < 91_000
