"""What a trial holds for true follows executions as they happened, whatever order they are listed in."""

from __future__ import annotations

import itertools
from decimal import Decimal

from trading_assets.chaos.truth import Truth
from trading_assets.core.models import Execution, FillKind, OrderPurpose, Side
from trading_assets.exchange.bybit import BybitOrderIds

ONE = Decimal(1)


def by_a_person(order: str, side: Side, qty: int, closed: int, time_ms: int) -> Execution:
    return Execution(
        exec_id=order,
        symbol="DAIUSDT",
        order_id=order,
        order_link_id="",
        side=side,
        kind=FillKind.TRADE,
        exec_type="Trade",
        price=ONE,
        qty=Decimal(qty),
        value=Decimal(qty),
        fee=Decimal(0),
        fee_rate=Decimal(0),
        is_maker=False,
        closed_size=Decimal(closed),
        purpose=OrderPurpose.ORDINARY,
        time_ms=time_ms,
    )


def test_executions_of_one_millisecond_are_followed_in_any_order() -> None:
    """A short is opened and closed in the millisecond in which a long was closed; later another long comes and goes."""
    rows = [
        by_a_person("opens", Side.BUY, 5, 0, 1),
        by_a_person("closes", Side.SELL, 5, 5, 2),
        by_a_person("goes short", Side.SELL, 30, 0, 2),
        by_a_person("covers", Side.BUY, 30, 30, 2),
        by_a_person("goes long", Side.BUY, 99, 0, 3),
        by_a_person("ends", Side.SELL, 99, 99, 4),
    ]
    expected = {"closes": 5, "covers": 30, "ends": 99}
    for order in itertools.permutations(rows):
        truth = Truth(BybitOrderIds())
        truth.feed(order)
        assert truth.shares == {name: {None: Decimal(qty)} for name, qty in expected.items()}
        assert truth.foreign["DAIUSDT"] == 0
