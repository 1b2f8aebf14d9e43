"""Costs by the liquidity of the bar, and stops under stress: what they cost, and the same in both engines."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from trading_assets.backtesting import liquidity
from trading_assets.backtesting.engine import COST_MODELS, FLAT, LIQUIDITY, STRESS, Column, Costs
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine, trades_apart
from trading_assets.backtesting.kernel.sweep import column_from as column_of_strategy
from trading_assets.backtesting.liquidity import price_before_slippage, slippage_by_bar
from trading_assets.backtesting.metrics import metrics
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import Timeframe
from trading_assets_tests.backtesting.columns import COSTLY, assert_same, candles_of, column_from, random_column
from trading_assets_tests.backtesting.kernel.markets import CAPITAL, NAMES, grid_of, panel_of, seeded

BARS = [(100, 101, 99, 100), (100, 100.5, 96, 99.5), (99, 99.5, 98.5, 99)]


def traded(candles: Candles, turnover_a_minute: float) -> Candles:
    return replace(candles, turnover=np.full(len(candles), turnover_a_minute * candles.timeframe.minutes))


def with_turnover(column: Column, seed: int) -> Column:
    """Bars of a few thousand to a few million USD a minute, and some without any."""
    rng = np.random.default_rng(seed)
    turnover = np.exp(rng.uniform(7, 15, len(column.candles))) * column.candles.timeframe.minutes
    turnover[rng.random(len(turnover)) < 0.02] = 0.0
    return replace(column, candles=replace(column.candles, turnover=turnover))


def test_half_a_spread_goes_with_the_root_of_turnover_and_has_bounds() -> None:
    still = replace(candles_of([(100, 100, 100, 100)] * 2), timeframe=Timeframe.M1)
    costs = COSTLY.under(LIQUIDITY)

    def slips(turnover: float) -> float:
        return float(slippage_by_bar(traded(still, turnover), costs)[0])

    assert slips(liquidity.REFERENCE_TURNOVER) == pytest.approx(COSTLY.slippage)
    assert slips(liquidity.REFERENCE_TURNOVER / 4) == pytest.approx(2 * COSTLY.slippage)
    assert slips(1e12) == pytest.approx(COSTLY.slippage / 4) and slips(0.0) == pytest.approx(COSTLY.slippage * 5)


def test_the_impact_is_the_volatility_of_a_minute_by_the_root_of_the_orders_share() -> None:
    costs = COSTLY.under(LIQUIDITY)
    for timeframe in (Timeframe.M1, Timeframe.M60):
        candles = replace(candles_of([(100, 101, 99, 100)]), timeframe=timeframe)
        spread = COSTLY.slippage * (liquidity.REFERENCE_TURNOVER / 10_000) ** 0.5
        minute = np.log(101 / 99) / np.sqrt(4 * np.log(2)) / np.sqrt(timeframe.minutes)
        found = slippage_by_bar(traded(candles, 10_000), costs)
        assert found == pytest.approx([spread + minute * np.sqrt(1000 / 10_000)])
    wild = candles_of([(100, 300, 50, 100)])
    assert slippage_by_bar(traded(wild, 100.0), costs) == liquidity.MOST_SLIPPAGE


@pytest.mark.parametrize("engine", [KernelEngine(), VectorbtEngine()])
def test_under_stress_a_stop_fills_halfway_to_the_worst_price_of_its_bar(engine: KernelEngine) -> None:
    column = column_from(BARS, long=[0], stop_fraction=0.01)
    column = replace(column, candles=traded(column.candles, 1e12))
    free = Costs(fee=0.0, slippage=0.0, notional=1000.0)
    impact = slippage_by_bar(column.candles, free.under(LIQUIDITY))
    [flat] = engine.simulate([column], free)
    [stress] = engine.simulate([column], free.under(STRESS))
    assert flat.exit_price == pytest.approx([99.0])
    assert stress.exit_price == pytest.approx([99.0 - (99.0 - 96.0) / 2 - 99.0 * impact[1]])
    assert stress.entry_price == pytest.approx([100 * (1 + impact[0])])
    # A target does not slip further, whatever its bar does.
    wins = replace(column_from(BARS, short=[0], stop_fraction=0.01), candles=column.candles)
    [flat], [stress] = engine.simulate([wins], free), engine.simulate([wins], free.under(STRESS))
    assert stress.exit_price == pytest.approx(flat.exit_price * (1 + impact[1]))


@pytest.mark.parametrize("model", COST_MODELS)
@pytest.mark.parametrize("seed", range(6))
def test_both_engines_find_the_same_trades(model: str, seed: int) -> None:
    columns = [with_turnover(random_column(seed * 7 + number, 150 + 40 * number), number) for number in range(5)]
    costs = replace(COSTLY, liquidation=0.09).under(model)
    kernel, reference = KernelEngine().simulate(columns, costs), VectorbtEngine().simulate(columns, costs)
    for found, expected in zip(kernel, reference, strict=True):
        assert len(found) > 3
        assert_same(found, expected)


@pytest.mark.parametrize("model", [LIQUIDITY, STRESS])
@pytest.mark.parametrize("name", NAMES)
def test_the_sweep_has_the_figures_of_the_reference(name: str, model: str) -> None:
    sweep = grid_of(name)
    data, window = seeded(sweep.sets, 5, Timeframe.M15)
    costs = COSTLY.under(model)
    outcome = sweep.run(panel_of(data), costs, CAPITAL)
    columns = [column_of_strategy(strategy, data, window) for strategy in sweep.sets]
    for found, theirs in zip(outcome.figures[0], VectorbtEngine().simulate(columns, costs), strict=True):
        expected = astuple(metrics(theirs, window.candles, CAPITAL, window.split))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    flat = sweep.run(panel_of(data), COSTLY, CAPITAL)
    assert (outcome.figures[..., 0] == flat.figures[..., 0]).all(), "costs move no exit"
    assert (outcome.figures[..., 6] != flat.figures[..., 6])[outcome.figures[..., 0] > 0].all()


def test_flat_costs_know_nothing_of_turnover() -> None:
    column = random_column(3, 200)
    [one], [other] = (KernelEngine().simulate([each], COSTLY) for each in (column, with_turnover(column, 1)))
    np.testing.assert_array_equal(one.pnl, other.pnl)
    assert COSTLY.under(FLAT) == COSTLY


@pytest.mark.slow
@pytest.mark.parametrize("model", COST_MODELS)
def test_trades_apart_are_those_of_an_engine_that_is_asked_for_each(model: str) -> None:
    column, costs = with_turnover(random_column(5, 300), 2), COSTLY.under(model)
    bars = np.array([3, 4, 5, 150, 299])
    direction = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    pnl, prices = trades_apart(
        column.candles, column.funding, bars, direction, np.full(5, 0.01), np.full(5, 2.0), costs
    )
    for at, bar in enumerate(bars.tolist()):
        alone = Column.from_entry(
            column.candles, int(column.candles.end_ms[bar]), long=direction[at] > 0, stop_fraction=0.01,
            reward_risk=2.0, funding=column.funding,
        )  # fmt: skip
        [trades] = VectorbtEngine().simulate([alone], costs)
        assert (pnl[at], prices[at]) == pytest.approx((trades.pnl[0], trades.entry_price[0]), rel=1e-9)


@pytest.mark.parametrize(("direction", "worst"), [(1, 90.0), (-1, 104.0)])
def test_the_price_before_slippage_is_found_again(direction: int, worst: float) -> None:
    made, slip = 97.0, 0.001
    fill = made * (1 - direction * (slip + 0.5 * abs(made - worst) / made))
    assert price_before_slippage(fill, direction, slip, worst, 0.5) == pytest.approx(made)


def test_the_bound_of_a_loss_counts_the_widest_spread_where_slippage_goes_by_liquidity() -> None:
    costs = Costs(0.0005, 0.0002, 1000.0)
    assert liquidity.both_fills(costs) == pytest.approx(1.4)
    for model in (LIQUIDITY, STRESS):
        assert liquidity.both_fills(costs.under(model)) == pytest.approx(3.0)
