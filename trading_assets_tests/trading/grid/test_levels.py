"""Levels of a grid, what is checked before it starts, and its books: properties and hand-made cases."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.models import Side
from trading_assets.core.timeframes import Timeframe
from trading_assets.trading.grid.books import Carried, Fill, level_books, sums
from trading_assets.trading.grid.checks import Surroundings, problems
from trading_assets.trading.grid.levels import (
    GridError,
    Kind,
    Spacing,
    bounds_by_atr,
    bounds_by_bollinger,
    build,
    prices,
    worst_value,
)
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.fixtures import settings
from trading_assets_tests.trading.grid.stage import A_PLAN

D = Decimal
RULES = an_instrument("BTCUSDT", tick_size=D("0.1"), max_leverage=D(100))
AROUND = Surroundings(RULES, D(100_000), D(10_000), D(10_000), D("0.0002"), D("0.00055"))
LIMITS = settings(max_leverage=20)


def test_arithmetic_steps_are_equal_and_geometric_ratios_are() -> None:
    assert prices(D(100), D(104), 4, Spacing.ARITHMETIC, D("0.1")) == [D(p) for p in (100, 101, 102, 103, 104)]
    assert prices(D(100), D(1600), 4, Spacing.GEOMETRIC, D("0.1")) == [D(p) for p in (100, 200, 400, 800, 1600)]


@pytest.mark.parametrize(("low", "high", "levels"), [(0, 1, 2), (2, 1, 2), (1, 1, 2), (1, 2, 1), (1, 2, 401)])
def test_bounds_and_numbers_that_make_no_grid_are_refused(low: int, high: int, levels: int) -> None:
    with pytest.raises(GridError):
        prices(D(low), D(high), levels, Spacing.ARITHMETIC, D("0.1"))


@given(
    low=st.integers(10_000, 90_000),
    width=st.integers(1_000, 100_000),
    levels=st.integers(2, 60),
    kind=st.sampled_from(Kind),
    spacing=st.sampled_from(Spacing),
    at=st.floats(0.0, 1.0),
)
def test_levels_join_and_no_own_orders_can_meet_at_the_start(
    low: int, width: int, levels: int, kind: Kind, spacing: Spacing, at: float
) -> None:
    plan = replace(A_PLAN, low=D(low), high=D(low + width), levels=levels, kind=kind, spacing=spacing)
    price = D(low) + D(width) * D(repr(at)).quantize(D("0.001"))
    found = build(plan, price, RULES)
    assert len(found) == levels
    assert all(one.high == two.low for one, two in pairwise(found))
    assert all(one.low % RULES.tick_size == 0 for one in found)
    assert len({one.qty for one in found}) == 1
    assert worst_value(found) <= plan.capital * plan.leverage * (1 + D(width) / D(low))
    buys = [one.low for one in found if one.side is Side.BUY and not one.takes_first]
    sells = [one.high for one in found if one.side is Side.SELL and not one.takes_first]
    if kind is Kind.NEUTRAL:
        assert all(one <= price for one in buys)
        assert all(one >= price for one in sells)
        assert not buys or not sells or max(buys) < min(sells)


def _candles(closes: list[float]) -> Candles:
    close = np.array(closes)
    start = np.arange(len(closes), dtype=np.int64) * 3_600_000
    return Candles(Timeframe("60m"), start, close, close + 1, close - 1, close, close, close)


def test_bounds_from_atr_and_bollinger_bands() -> None:
    assert bounds_by_atr(_candles([100.0] * 30), 3.0) == (D("94.0"), D("106.0"))
    low, high = bounds_by_bollinger(_candles([99.0, 101.0] * 20), 2.0)
    assert (float(low), float(high)) == pytest.approx((98.0, 102.0))
    for few in ([], [100.0] * 5):
        with pytest.raises(GridError, match="too few candles"):
            bounds_by_atr(_candles(few), 3.0)
        with pytest.raises(GridError, match="too few candles"):
            bounds_by_bollinger(_candles(few), 2.0)


@pytest.mark.parametrize(
    ("changes", "around", "words"),
    [
        ({}, {}, ""),
        ({"levels": 300}, {}, "a round trip costs 0.040 % as maker"),
        ({"capital": D(1)}, {}, "at least 0.001 are needed"),
        ({"stop_low": None}, {}, "needs a --stop-low"),
        ({"stop_high": D(104_000)}, {}, "must be above the bound 105000"),
        ({"kind": Kind.LONG, "stop_high": None}, {}, ""),
        ({"leverage": D(50)}, {}, "leverage 50 is above 20"),
        ({}, {"price": D(106_000)}, "is not between the bounds"),
        ({}, {"equity": D(45)}, "else the position is liquidated before"),
        ({}, {"available": D(100)}, "$100.00 are free"),
        ({}, {"orders": 475}, "10 levels need as many orders, and 5 are free"),
        ({}, {"conditional": 9}, "9 conditional orders wait"),
    ],
)
def test_what_is_checked_before_the_start(changes: dict[str, object], around: dict[str, object], words: str) -> None:
    plan = replace(A_PLAN, **changes)  # type: ignore[arg-type]
    found = problems(plan, build(plan, D(100_000), RULES), replace(AROUND, **around), LIMITS)  # type: ignore[arg-type]
    assert (found == []) if not words else any(words in one for one in found), found


@pytest.mark.slow
@given(st.data())
def test_profit_of_pairs_and_of_inventory_is_the_change_of_money(data: st.DataObject) -> None:
    """R18, and inventory = sum of fills, for any order of fills in any number of levels."""
    mark = D(data.draw(st.integers(50, 150)))
    every, levels, unrealised = list[Fill](), [], D(0)
    for _ in range(data.draw(st.integers(1, 4))):
        side, held, mine = data.draw(st.sampled_from(Side)), D(0), list[Fill]()
        for time_ms in range(data.draw(st.integers(0, 12))):
            closes = held > 0 and data.draw(st.booleans())
            most = int(held * 1000) if closes else 5_000
            qty = D(data.draw(st.integers(1, most))) / 1000
            value = qty * D(data.draw(st.integers(500, 1500))) / 10
            fee = (value * D("0.0002")).quantize(D("1e-8"))
            mine.append(Fill(side.opposite if closes else side, qty, value, fee, time_ms))
            held += -qty if closes else qty
        books = level_books(side, mine)
        assert books.held == held
        levels.append(books)
        unrealised += books.unrealised(side, mark)
        every += mine
    found = sums(every, levels, mark, profit_before=D(0), funding=D(0))
    assert found.inventory == sum((one.signed_qty for one in every), D(0))
    assert found.grid_profit + unrealised == found.total
    assert found.inventory_pnl == unrealised


def test_matched_pairs_less_fees_to_eight_decimals_and_carried_inventory_counts_at_its_entry() -> None:
    fills = [
        Fill(Side.BUY, D(3), D(300), D("0.06"), 1),
        Fill(Side.SELL, D(1), D(101), D("0.0202"), 2),
        Fill(Side.SELL, D(2), D(202), D("0.0404"), 3),
    ]
    found = level_books(Side.BUY, fills)
    assert (found.profit, found.round_trips, found.held) == (D("2.8794"), 1, 0)
    carried = level_books(Side.SELL, [Fill(Side.BUY, D(1), D(95), D("0.01"), 1)], Carried(D(1), D(100), D("0.02")))
    assert carried.profit == D("4.97")
    with pytest.raises(GridError, match="closed 2 of the 1"):
        level_books(Side.BUY, [Fill(Side.BUY, D(1), D(1), D(0), 1), Fill(Side.SELL, D(2), D(2), D(0), 2)])
