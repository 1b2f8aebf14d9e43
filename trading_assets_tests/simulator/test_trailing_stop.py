"""Trailing stops: they follow the best price, begin where they are told to, and do not depend on how time is cut."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import OrderCommand, StopCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.codec import Refusal
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket, rising_then_falling

D = Decimal
RISE = [100_000, 100_400, 101_000, 100_700, 101_500, 99_000]
FALL = [100_000, 99_600, 99_000, 99_300, 98_500, 101_000]


def opened(prices: list[float], side: Side = Side.BUY) -> AccountEngine:
    market = FakeMarket(rising_then_falling("BTCUSDT", T0, prices))
    engine = AccountEngine(market, AccountState.opened("trail", T0, {"USDT": D(10_000)}))
    engine.place_order(OrderCommand("BTCUSDT", side, D("0.01")), T0)
    return engine


def trail(engine: AccountEngine, distance: str, active: str | None = None, now: int = T0) -> None:
    price = D(active) if active is not None else None
    engine.change_stops(StopCommand("BTCUSDT", trailing_stop=D(distance), active_price=price), now)


@pytest.mark.parametrize("steps", [[], [7_001], [59_999, MINUTE, 3 * MINUTE + 1, 4 * MINUTE + 30_000]])
@pytest.mark.parametrize(
    ("side", "prices", "distance", "exit_price"),
    [
        (Side.BUY, RISE, "250", 100_750),  # 300 back from 101,000 is enough
        (Side.BUY, RISE, "400", 101_100),  # only 400 back from 101,500 is
        (Side.SELL, FALL, "250", 99_250),
        (Side.SELL, FALL, "400", 98_900),
    ],
)
def test_the_position_is_closed_so_far_behind_the_best_price(
    side: Side, prices: list[float], distance: str, exit_price: int, steps: list[int]
) -> None:
    engine = opened(prices, side)
    trail(engine, distance)
    for step in steps:
        engine.settle(T0 + step)
    engine.settle(T0 + HOUR)
    (row,) = engine.state.closed
    assert abs(row.exit_price - exit_price) < 2
    (order,) = [order for order in engine.state.orders.values() if order.stop_order_type]
    assert (order.stop_order_type, order.create_type) == ("TrailingStop", "CreateByTrailingStop")
    assert engine.open_orders() == []


def test_it_trails_only_after_the_price_was_at_its_activation() -> None:
    engine = opened(RISE)
    trail(engine, "250", active="101200")
    engine.settle(T0 + HOUR)
    (row,) = engine.state.closed
    assert abs(row.exit_price - 101_250) < 2


def test_it_can_be_changed_and_taken_away() -> None:
    engine = opened(RISE)
    trail(engine, "250")
    with pytest.raises(Refusal, match="not modified"):
        trail(engine, "250")
    trail(engine, "5000", now=T0 + 1)
    (order,) = engine.open_orders()
    assert order.trailing == 5000
    trail(engine, "0", now=T0 + 2)
    assert engine.open_orders() == []
    with pytest.raises(Refusal, match="not modified"):
        trail(engine, "0", now=T0 + 3)


@pytest.mark.parametrize(("distance", "active"), [("-1", None), ("0.05", None), ("100000", None), ("100", "99000")])
def test_what_makes_no_sense_is_refused_and_changes_nothing(distance: str, active: str | None) -> None:
    engine = opened(RISE)
    before = len(engine.state.orders)
    with pytest.raises(Refusal) as caught:
        trail(engine, distance, active)
    assert caught.value.code == 10001
    assert len(engine.state.orders) == before and engine.open_orders() == []


def test_a_wrong_stop_beside_a_good_trailing_stop_leaves_both_undone() -> None:
    engine = opened(RISE)
    with pytest.raises(Refusal):
        engine.change_stops(StopCommand("BTCUSDT", stop_loss=D(101_000), trailing_stop=D(100)), T0)
    assert engine.open_orders() == []
