"""Grids over candles: against a naive grid over ticks, and the rules of a bar one by one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import Side
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import grids
from trading_assets.trading.grid import simulation
from trading_assets.trading.grid.bars import Bars, bars_of, legs_of
from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing
from trading_assets.trading.grid.simulation import GridCosts, GridResult, simulate
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.grid.naive_ticks import NaiveGrid, NaiveLevel

D = Decimal
T0, MINUTE = 1_772_323_200_000, 60_000
COSTS = GridCosts(D("0.0002"), D("0.00055"), D(0))
RULES = an_instrument("AUSDT", tick_size=D("0.25"), qty_step=D("0.01"), min_qty=D("0.01"), min_notional=D(1))
PLAN = Plan("AUSDT", Kind.NEUTRAL, Spacing.ARITHMETIC, D(95), D(105), 5, D(500), D(2), D(90), D(110))
"""Five levels of 2 around 100."""

QTY = D(2)


def bars(*rows: tuple[float, float, float, float]) -> Bars:
    """Rows of open, high, low, close, a minute each."""
    opened, high, low, close = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    starts = T0 + MINUTE * np.arange(len(rows), dtype=np.int64)
    return Bars(starts, starts + MINUTE, opened, high, low, close)


def of_ticks(*prices: float) -> Bars:
    """Each way from one price to the next as a bar of its own; the first stands still."""
    return bars((prices[0],) * 4, *((a, max(a, b), min(a, b), b) for a, b in pairwise(prices)))


def run(some: Bars, plan: Plan = PLAN, funding: Funding | None = None, costs: GridCosts = COSTS) -> GridResult:
    return simulate(plan, some, RULES, costs, funding or Funding.empty(), qty=QTY)


def naive_of(plan: Plan, price: float) -> NaiveGrid:
    ladder = [plan.low + (plan.high - plan.low) / plan.levels * n for n in range(plan.levels + 1)]
    now, levels = D(repr(price)), []
    for low, high in pairwise(ladder):
        if plan.kind is Kind.NEUTRAL:
            opens = 1 if high <= now or (low < now and high - now <= now - low) else -1
            levels.append(NaiveLevel(low, high, opens))
        elif plan.kind is Kind.LONG:
            levels.append(NaiveLevel(low, high, 1, takes_first=low >= now))
        else:
            levels.append(NaiveLevel(low, high, -1, takes_first=high <= now))
    stops = (None if plan.kind is Kind.SHORT else plan.stop_low, None if plan.kind is Kind.LONG else plan.stop_high)
    grid = NaiveGrid(levels, QTY, RULES.tick_size, COSTS.maker, COSTS.taker, stops)
    grid.start(now)
    return grid


def _path(steps: list[int]) -> list[float]:
    return [100.0, *(100.0 + 0.5 * np.cumsum(steps).clip(-60, 60)).tolist()]


ticks = st.lists(st.integers(-8, 8), min_size=1, max_size=60).map(_path)
inside = st.lists(st.integers(-14, 14), min_size=6, max_size=60).map(
    lambda rows: [100.25, *(100.25 + 0.5 * row for row in rows)]
)
"""Never on the price of a level: a close there leaves two orders that must not meet."""

kinds = st.sampled_from(list(Kind))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ticks, kinds)
def test_over_ticks_it_is_the_naive_grid(prices: list[float], kind: Kind) -> None:
    plan = replace(PLAN, kind=kind)
    found, naive = run(of_ticks(*prices), plan), naive_of(plan, prices[0])
    for price in prices[1:]:
        naive.tick_to(D(repr(price)))
    mine = [(-1 if row.level_index is None else row.level_index, row.side, row.price) for row in found.fills]
    theirs = [(number, Side.BUY if way == 1 else Side.SELL, price) for number, way, price in naive.fills]
    assert sorted(mine) == sorted(theirs)
    last = D(repr(prices[-1]))
    assert found.figures.total == naive.total(last)
    assert found.figures.inventory == naive.coins
    assert float(found.equity[-1]) == pytest.approx(float(naive.total(last)), abs=1e-9)
    assert (found.state == grids.ENDED) == naive.is_over
    if not naive.is_over:
        assert found.figures.round_trips == sum(level.trips for level in naive.levels)


CLOSING_FEES = float(2 * QTY * 107 * COSTS.maker)
"""What a level still holds has not paid for its end yet. At most two levels beside the close differ: 0.09 USD, where a
round trip earns 4."""


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(inside, kinds, st.integers(2, 9))
def test_over_bars_it_never_earns_more_than_the_naive_grid_over_their_ticks(
    prices: list[float], kind: Kind, size: int
) -> None:
    plan = replace(PLAN, kind=kind, stop_low=D(80), stop_high=D(120))
    parts = [prices[at : at + size + 1] for at in range(0, len(prices) - 1, size)]
    rows = [(part[0], max(part), min(part), part[-1]) for part in parts]
    found, naive = run(bars((prices[0],) * 4, *rows), plan), naive_of(plan, prices[0])
    for number, part in enumerate(parts, start=1):
        for price in part[1:]:
            naive.tick_to(D(repr(price)))
        assert found.equity[number] <= float(naive.total(D(repr(part[-1])))) + CLOSING_FEES


FLAT = (100.25,) * 4
ONE = replace(PLAN, low=D(96), high=D(104), levels=2)
"""Two levels of a neutral grid: buys at 96 to sell at 100, sells at 104 to buy at 100. The first closes above 100."""

RULES_OF_A_BAR = {
    "a touch is no fill": ([(100.25, 100.5, 96, 99)], []),
    "beyond the price it is filled at its own price": ([(100.25, 100.5, 95.75, 99)], [("open", "Buy", 96)]),
    "also where the bar opens far beyond it": ([(95, 95.5, 94, 95)], [("open", "Buy", 96)]),
    "what follows counts where the close proves it": (
        [(100.25, 101, 95.75, 100.5)],
        [("open", "Buy", 96), ("close", "Sell", 100)],
    ),
    "and not where the high alone does": ([(100.25, 101, 95.75, 99.75)], [("open", "Buy", 96)]),
    "it is in the book from the next bar on": (
        [(100.25, 101, 95.75, 99.75), (99.75, 100.25, 99, 99)],
        [("open", "Buy", 96), ("close", "Sell", 100)],
    ),
    "a level that closes opens again where the close proves it": (
        [(100.25, 101, 95.75, 99), (99, 100.25, 95, 95.5)],
        [("open", "Buy", 96), ("close", "Sell", 100), ("open", "Buy", 96)],
    ),
    "both openers may fill in one bar": (
        [(100.25, 104.25, 95.75, 100)],
        [("open", "Buy", 96), ("open", "Sell", 104)],
    ),
    "a stop fills what opens on its way and takes all": (
        [(100.25, 101, 89, 101)],
        [("open", "Buy", 96), ("guard", "Sell", 90)],
    ),
    "what the stop's bar could have sold before does not count": (
        [(100.25, 104.25, 89, 101)],
        [("open", "Buy", 96), ("guard", "Sell", 90)],
    ),
    "but what it opened beyond does": (
        [(104.5, 104.75, 89, 101)],
        [("open", "Sell", 104), ("open", "Buy", 96), ("close", "Buy", 100), ("guard", "Sell", 90)],
    ),
    "a bar that opens beyond the stop fills there": (
        [(88, 89, 87, 88)],
        [("open", "Buy", 96), ("guard", "Sell", 88)],
    ),
    "of two stops the worse one, here by its fees": (
        [(100.25, 110, 89, 92)],
        [("open", "Sell", 104), ("guard", "Buy", 110)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES_OF_A_BAR)
def test_rules_of_a_bar(name: str) -> None:
    rows, fills = RULES_OF_A_BAR[name]
    found = run(bars(FLAT, *rows), ONE)
    mine = [(fill.purpose, fill.side.value, float(fill.price)) for fill in found.fills]
    assert sorted(mine) == sorted((purpose, side, float(price)) for purpose, side, price in fills)
    assert (found.state == grids.ENDED) == any(purpose == grids.GUARD for purpose, _, _ in fills)


def test_orders_at_the_market_slip_and_pay_the_takers_fee() -> None:
    costs = replace(COSTS, slippage=D("0.01"))
    found = run(bars(FLAT, (100.25, 100.5, 89, 89)), ONE, costs=costs)
    guard = found.fills[-1]
    assert (guard.price, guard.is_maker) == (D("89"), False), "90 less 1 %, down to the tick"
    assert guard.fee == guard.price * guard.qty * COSTS.taker
    assert found.fills[0].fee == 96 * QTY * COSTS.maker


def test_funding_is_paid_for_what_is_held_then_and_stands_apart() -> None:
    some = bars(FLAT, (100.25, 100.5, 95.75, 98), (98, 99, 97, 97), (97, 98, 97, 98))
    times = np.array([T0, T0 + MINUTE, T0 + 2 * MINUTE, T0 + 3 * MINUTE], dtype=np.int64)
    found = run(some, ONE, Funding(times, np.array([0.01, 0.01, 0.01, -0.005])))
    assert found.figures.funding == QTY * (98 * D("0.01") - 97 * D("0.005")), "nothing is held before the second bar"
    held = QTY * (98 - 96) - 96 * QTY * COSTS.maker
    assert (found.figures.inventory_pnl, found.figures.total) == (held, held - found.figures.funding)
    assert found.equity[-1] == pytest.approx(float(found.figures.total))
    assert found.equity[0] == found.inventory[0] == 0


def test_profit_of_pairs_and_inventory_are_apart_and_come_to_the_change_of_money() -> None:
    found = run(of_ticks(100.25, 95.5, 100.5, 95.5, 97), ONE)
    pair = QTY * 4 - QTY * (96 + 100) * COSTS.maker
    assert (found.figures.round_trips, found.figures.grid_profit) == (1, pair)
    assert found.figures.inventory_pnl == QTY * (97 - 96) - QTY * 96 * COSTS.maker
    assert found.figures.total == found.figures.grid_profit + found.figures.inventory_pnl


def test_beyond_the_bounds_it_waits_stops_or_follows_as_it_is_told() -> None:
    away = of_ticks(100.25, 105.5, 105.5, 103)
    waits = run(away, replace(ONE, out_of_range=OutOfRange.WAIT))
    assert (waits.state, len(waits.bounds)) == (grids.RUNNING, 1)
    stops = run(away, replace(ONE, out_of_range=OutOfRange.STOP))
    assert (stops.state, stops.fills[-1].purpose) == (grids.ENDED, grids.FLATTEN)
    assert stops.figures.inventory == 0
    follows = run(away, replace(ONE, out_of_range=OutOfRange.RECENTRE))
    assert [(low, high) for _, low, high in follows.bounds] == [(D(96), D(104)), (D("101.5"), D("109.5"))]
    assert follows.state == grids.RUNNING


def test_levels_that_the_contract_does_not_take_are_never_placed() -> None:
    rules = replace(RULES, min_notional=D(1000))
    found = simulate(ONE, of_ticks(100.25, 90.5, 103, 97), rules, COSTS, Funding.empty(), qty=QTY)
    assert found.fills == []


def test_finer_candles_stand_for_a_coarse_one_that_they_fill() -> None:
    def candles(timeframe: Timeframe, starts: list[int]) -> Candles:
        values = 100.0 + np.arange(len(starts)) + timeframe.minutes / 10
        return Candles(timeframe, np.array(starts, dtype=np.int64), *[values] * 6)

    five = candles(Timeframe.M5, [T0, T0 + 5 * MINUTE, T0 + 15 * MINUTE])
    one = candles(Timeframe.M1, [T0 + MINUTE * at for at in (*range(5), 5, 6, 7, 8, 12, 40)])
    found = bars_of(five, one)
    assert found.start_ms.tolist() == [*(T0 + MINUTE * at for at in range(5)), T0 + 5 * MINUTE, T0 + 15 * MINUTE]
    assert (np.diff(found.end_ms) > 0).all()
    assert found.close.tolist() == [*(100.1 + at for at in range(5)), 101.5, 102.5]
    assert bars_of(five).close.tolist() == five.close.tolist()


def test_legs_visit_the_extreme_behind_the_way_first() -> None:
    rises, falls = legs_of(bars((10, 13, 9, 12))), legs_of(bars((12, 13, 9, 10)))
    assert [rises.open.tolist(), rises.close.tolist()] == [[10, 9, 13], [9, 13, 12]]
    assert [falls.open.tolist(), falls.close.tolist()] == [[12, 13, 9], [13, 9, 10]]
    found = run(legs_of(bars(FLAT, (99.5, 101, 95.75, 99.75))), ONE)
    assert [fill.price for fill in found.fills] == [D(96), D(100)], "on this way the level was closed at 100"


def test_bars_that_reach_nothing_are_passed_over_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = (100.0 + np.cumsum(np.random.default_rng(5).normal(0, 0.4, 400)).round(1)).tolist()
    rows = [(a, max(a, b) + 0.3, min(a, b) - 0.3, b) for a, b in pairwise(prices)]
    quick = run(bars(FLAT, *rows))
    monkeypatch.setattr(simulation, "_LOOK_AHEAD", 1)
    monkeypatch.setattr(simulation._Run, "_next_event", lambda _self, begin: begin)
    slow = run(bars(FLAT, *rows))
    assert quick.fills == slow.fills
    assert quick.figures == slow.figures
    assert np.allclose(quick.equity, slow.equity)
