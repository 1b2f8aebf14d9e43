"""Grids ranked by research: what a life counts, what the statistics are made of, and that nothing after it is read."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.schemas import BACKTEST_RESULTS, GRID_RESULTS, GRID_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms
from trading_assets.strategies.registry import strategy_classes
from trading_assets.trading.grid.backtest import backtest
from trading_assets.trading.grid.declared import DECLARED
from trading_assets.trading.grid.levels import Kind, Spacing
from trading_assets.trading.grid.ranking import (
    BARS,
    BOUNDS,
    BOUNDS_BARS,
    GRID,
    LIFE_MS,
    LIVES,
    REACH_MS,
    CoinData,
    GridResearch,
    life_starts,
    run_life,
    select_grids,
)
from trading_assets.trading.grid.shapes import Bounds, GridShape
from trading_assets.trading.grid.simulation import GridCosts
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.fixtures import settings

D = Decimal
HOUR = 1_772_409_600_000
SCAN = "scan-20260302-010000"
RULES = an_instrument("AUSDT", tick_size=D("0.001"), qty_step=D("0.001"), min_qty=D("0.001"), min_notional=D(5))
SHAPE = GridShape(Kind.NEUTRAL, Spacing.GEOMETRIC, Bounds.ATR, width=4.0, levels=6)
COSTS = GridCosts(D("0.0002"), D("0.00055"), D("0.0002"))


def candles_of(timeframe_ms: int, start_ms: int, end_ms: int, seed: int = 1) -> Candles:
    """A price that swings by 3 % within eight hours, and wanders; the same whatever part of it is asked for."""
    starts = np.arange(start_ms - start_ms % timeframe_ms, end_ms, timeframe_ms, dtype=np.int64)
    at = np.concatenate([starts, starts[-1:] + timeframe_ms])
    price = 100 * (1 + 0.015 * np.sin(at / HOUR_MS * 0.8) + 0.004 * np.sin(at / HOUR_MS * 7.1 + seed))
    opened, close = price[:-1], price[1:]
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    timeframe = BARS if timeframe_ms == BARS.ms else BOUNDS
    return Candles(timeframe, starts, opened, high, low, close, np.ones(len(starts)), np.ones(len(starts)) * 1e6)


def data_of(_symbol: str, start_ms: int, end_ms: int) -> CoinData:
    times = np.arange(start_ms - start_ms % (8 * HOUR_MS), end_ms, 8 * HOUR_MS, dtype=np.int64)
    return CoinData(
        RULES,
        candles_of(BARS.ms, start_ms, end_ms),
        candles_of(BOUNDS.ms, start_ms, end_ms),
        Funding(times, np.full(len(times), 0.0001)),
    )


def rows_of(hours: list[int], read: object = data_of, **changes: object) -> pd.DataFrame:
    scans = {hour: {"AUSDT": SCAN} for hour in hours}
    return GridResearch(settings(**changes), DECLARED).rows(scans, read)  # type: ignore[arg-type]


def test_lives_follow_each_other_and_have_ended_by_the_as_of() -> None:
    for hour in range(HOUR, HOUR + DAY_MS, HOUR_MS):
        starts = life_starts(hour)
        assert len(starts) == LIVES
        assert set(np.diff(starts)) == {LIFE_MS}
        assert as_of_ms(hour) - LIFE_MS < starts[-1] + LIFE_MS <= as_of_ms(hour)
        assert starts[0] - BOUNDS_BARS * BOUNDS.ms >= as_of_ms(hour) - REACH_MS


def test_a_life_is_the_backtest_of_its_plan_with_its_inventory_closed_at_the_market() -> None:
    start = life_starts(HOUR)[-1]
    data = data_of("AUSDT", start - REACH_MS, start + DAY_MS)
    life = run_life(SHAPE, "AUSDT", data, start, D(500), COSTS, settings())
    assert life is not None and life.refused is None
    known = data.bounds.between(start - BOUNDS_BARS * BOUNDS.ms, start)
    plan = SHAPE.plan("AUSDT", known, D(500), D(1))
    bars = data.bars.between(start - BARS.ms, start + LIFE_MS)
    found = backtest(plan, bars, RULES, COSTS, data.funding.between(start, start + LIFE_MS)).proven
    assert len(found.fills) > 4
    left = abs(float(found.figures.inventory)) * bars.close[-1]
    assert life.pnl == pytest.approx(float(found.figures.total) - left * 0.00075, abs=1e-9)
    assert life.fees == pytest.approx(float(found.figures.fees) + left * 0.00055)
    assert 0 < life.risk < 500 and len(life.equity) == LIFE_MS // BARS.ms


@pytest.mark.slow
def test_nothing_after_the_as_of_and_no_other_hour_changes_an_hours_rows() -> None:
    def poisoned(symbol: str, start_ms: int, end_ms: int) -> CoinData:
        data = data_of(symbol, start_ms, end_ms + DAY_MS)
        late = data.bars.start_ms >= end_ms
        high = np.where(late, 1e9, data.bars.high)
        return replace(data, bars=replace(data.bars, high=high))

    hours = [HOUR, HOUR + 5 * HOUR_MS, HOUR + 20 * HOUR_MS]
    alone = [rows_of([hour], poisoned) for hour in hours]
    together = rows_of(hours)
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), together, check_exact=True)
    GRID_RESULTS.model.validate(together, lazy=True)
    assert together["error"].isna().all()
    assert (together["total_trades"] > 15).all() and (together["bars"] == LIVES * LIFE_MS // BARS.ms).all()


@pytest.mark.slow
def test_figures_are_those_of_lives_and_every_setting_counts_as_a_try() -> None:
    (row,) = rows_of([HOUR]).to_dict("records")
    shape = GridShape.from_json(row["parameters"])
    data = data_of("AUSDT", as_of_ms(HOUR) - REACH_MS, as_of_ms(HOUR))
    capital = D(str(settings().grid_research_capital))
    lives = [run_life(shape, "AUSDT", data, start, capital, COSTS, settings()) for start in life_starts(HOUR)]
    pnl = np.array([one.pnl for one in lives if one is not None and one.refused is None])
    assert row["total_trades"] == len(pnl)
    assert row["total_pnl"] == pytest.approx(pnl.sum())
    assert row["win_rate"] == pytest.approx(100 * (pnl > 0).mean())
    assert row["configurations"] == len(DECLARED)
    assert row["in_sample_trades"] + row["out_of_sample_trades"] == pytest.approx(len(pnl), abs=1)
    assert row["out_of_sample_pnl"] == pytest.approx(pnl[len(pnl) - row["out_of_sample_trades"] :].sum())


def test_a_start_that_would_be_refused_is_no_life_and_a_coin_without_any_says_why() -> None:
    (small,) = rows_of([HOUR], grid_research_capital=1).to_dict("records")
    assert "would have been refused" in small["error"] and "a level; at least" in small["error"]
    assert (small["total_trades"], small["bars"]) == (0, 0)

    def unlisted(symbol: str, _start_ms: int, _end_ms: int) -> CoinData:
        raise LookupError(f"{symbol} is not listed")

    (gone,) = rows_of([HOUR], unlisted).to_dict("records")
    assert gone["error"] == "AUSDT is not listed"
    scans = {HOUR: {"AUSDT": SCAN}}
    left = GridResearch(settings(), DECLARED).rows(scans, data_of, {(HOUR, "AUSDT"): "a gap"})
    assert left["error"].tolist() == ["a gap"]
    assert select_grids(left, settings()).rows.empty


@pytest.mark.slow
def test_what_passes_the_filters_is_selected_and_no_table_of_strategies_has_it() -> None:
    results = rows_of([HOUR])
    found = select_grids(results, settings(min_profit_factor=0, min_win_rate=0, min_trades=1))
    GRID_SELECTIONS.model.validate(found.rows, lazy=True)
    (row,) = found.rows.to_dict("records")
    assert row["configurations_tried"] == len(DECLARED)
    assert 1 <= row["configurations_effective"] <= len(DECLARED)
    assert GRID not in strategy_classes()
    assert GRID_RESULTS.columns == BACKTEST_RESULTS.columns
