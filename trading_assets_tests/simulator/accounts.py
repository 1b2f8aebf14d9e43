"""Short words for the tests of the account engine: an account, orders, refusals, prices that run straight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import Order, OrderCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal
from trading_assets_tests.simulator.fake_market import T0, FakeMarket, Minute, rising_then_falling

D = Decimal
BTC = "BTCUSDT"
FLAT: dict[str, dict[int, Minute]] = {BTC: {T0: (100_000.0,) * 4}}


def account_on(market: FakeMarket | None = None, deposit: str = "10000") -> AccountEngine:
    """A new account of `deposit` USDT at T0; without a market the price rests at 100000."""
    return AccountEngine(market or FakeMarket(FLAT), AccountState.opened("test", T0, {"USDT": D(deposit)}))


def straight(*prices: float, **more: Any) -> FakeMarket:
    """BTCUSDT runs from each price to the next, a minute each, and rests at the last."""
    return FakeMarket(rising_then_falling(BTC, T0, list(prices)), **more)


def market_order(side: Side, qty: str = "0.01", **more: Any) -> OrderCommand:
    return replace(OrderCommand(BTC, side, D(qty)), **more)


def limit_order(side: Side, price: str, qty: str = "0.01", **more: Any) -> OrderCommand:
    return market_order(side, qty, order_type="Limit", price=D(price), **more)


def trigger_order(side: Side, trigger: str, direction: int, qty: str = "0.01", **more: Any) -> OrderCommand:
    """A conditional order; `direction` 1 waits for a rise, 2 for a fall."""
    return market_order(side, qty, trigger_price=D(trigger), trigger_direction=direction, **more)


@contextmanager
def refused(code: int, words: str = "") -> Iterator[None]:
    """The block is refused with this `retCode`, and its message contains `words`."""
    with pytest.raises(Refusal) as caught:
        yield
    assert (caught.value.ret_code, words in str(caught.value)) == (code, True), str(caught.value)


def by_kind(orders: Sequence[Order], kind: str) -> list[Order]:
    return [order for order in orders if order.stop_order_type == kind]


def ended(order: Order) -> tuple[OrderStatus, str]:
    return order.status, order.cancel_type


def fills_of(engine: AccountEngine, order: Order) -> list[tuple[Decimal, Decimal, bool]]:
    """Price, quantity and whether as maker, of each fill of an order."""
    rows = (row for row in engine.state.executions if row.order_id == order.order_id)
    return [(row.price, row.qty, row.is_maker) for row in rows]
