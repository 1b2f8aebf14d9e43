"""What a trial holds for true follows executions as they happened, whatever order they are listed in."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_executions_of_one_millisecond_are_followed_as_they_happened() -> None:
    """A short is opened and closed in the millisecond in which a long was closed; later another long comes and goes."""
    rows = [
        by_a_person("opens", Side.BUY, 5, 0, 1),
        by_a_person("closes", Side.SELL, 5, 5, 2),
        by_a_person("goes short", Side.SELL, 30, 0, 2),
        by_a_person("covers", Side.BUY, 30, 30, 2),
        by_a_person("goes long", Side.BUY, 99, 0, 3),
        by_a_person("ends", Side.SELL, 99, 99, 4),
    ]
    truth = Truth(BybitOrderIds())
    truth.feed(rows)
    assert truth.shares == {name: {None: Decimal(qty)} for name, qty in {"closes": 5, "covers": 30, "ends": 99}.items()}
    assert truth.foreign["DAIUSDT"] == 0


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_what_it_follows_is_the_position_however_orders_are_split(chance: random.Random) -> None:
    """A person's orders fill in parts within one millisecond; some turn the position round. Nothing is lost on the way.

    Ids say nothing of the order.
    """
    position, rows = 0, []
    for number in range(chance.randint(2, 8)):
        side = chance.choice(list(Side))
        left = chance.randint(1, 40)
        while left:
            qty = chance.randint(1, left)
            signed = qty if side is Side.BUY else -qty
            closed = min(qty, abs(position)) if position * signed < 0 else 0
            position, left = position + signed, left - qty
            row = by_a_person(f"{number}", side, qty, closed, number // 2)
            rows.append(replace(row, exec_id=f"{chance.random()}"))
    truth = Truth(BybitOrderIds())
    for _ in range(2):  # what was fed is not followed again
        truth.feed(rows)
    assert truth.foreign["DAIUSDT"] == position
    closings = sum((row.closed_size for row in rows), Decimal(0))
    assert sum((qty for shares in truth.shares.values() for qty in shares.values()), Decimal(0)) == closings
