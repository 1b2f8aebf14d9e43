"""A sweep of sets with exits has the figures of their trades, compiled and on arrays; the fixed path stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from pydantic import Field

from trading_assets.backtesting.engine import COST_MODELS, FLAT, LimitEntry, risked
from trading_assets.backtesting.kernel.panel import Panel
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.backtesting.metrics import metrics
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.core.candles import FloatArray
from trading_assets.core.exits import ExitPlan
from trading_assets.core.models import EntryOrder
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets_tests.backtesting.kernel.markets import CAPITAL, COSTS, NAMES, grid_of, panel_of, seeded


class LeavingParameters(Parameters):
    level: float = 35.0
    leave: float = 50.0
    bars: int = 0
    trail: float = 0.0
    even: float = 0.0
    roi: tuple[tuple[int, float], ...] = ()
    parts: tuple[tuple[float, float], ...] = Field((), description="see ExitPlan")


class Planned(Strategy):
    """RSI below a level, with any plan."""

    name = "planned"
    description = "for tests"
    Parameters = LeavingParameters
    parameters: LeavingParameters

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"rsi": indicators.rsi(data.candles.close, 14)}

    @staticmethod
    def entries(v: Values, p: LeavingParameters) -> Entries:
        return Entries(long=v.rsi < p.level, short=v.rsi > 100 - p.level, confidence=p.level)

    def exits(self) -> ExitPlan:
        p = self.parameters
        return ExitPlan(after_bars=p.bars, trail=p.trail, break_even_from=p.even, roi=p.roi, parts=p.parts)


class Leaving(Planned):
    """It leaves at the middle of the RSI, besides."""

    name = "leaving"

    @staticmethod
    def entries(v: Values, p: LeavingParameters) -> Entries:
        return Entries(
            long=v.rsi < p.level,
            short=v.rsi > 100 - p.level,
            confidence=p.level,
            exit_long=v.rsi > p.leave,
            exit_short=v.rsi < 100 - p.leave,
        )


class LeavingUncompiled(Leaving):
    """The same by a function that numba does not know."""

    name = "leaving_uncompiled"

    @staticmethod
    def entries(v: Values, p: LeavingParameters) -> Entries:
        return Leaving.entries(v, LeavingParameters.model_construct(**vars(p)) if isinstance(p, Parameters) else p)


PLANS: Sequence[dict[str, object]] = (
    {},
    {"bars": 12},
    {"trail": 0.01},
    {"even": 0.01, "bars": 30},
    {"roi": ((1, 0.03), (10, 0.01))},
    {"parts": ((0.5, 0.3), (1.0, 0.4)), "trail": 0.02},
    {"parts": ((1.0, 0.5),), "roi": ((5, 0.004),), "even": 0.004, "bars": 20, "trail": 0.005},
)


def sets_of(kind: type[Planned]) -> list[Strategy]:
    levels = [{"level": level, "leave": leave} for level in (30.0, 40.0) for leave in (50.0, 60.0)]
    stops = [{"stop_atr": 1.5, "reward_risk": 2.0}, {"stop_atr": 3.0, "reward_risk": 1.5}]
    return [kind(plan | one | stop) for plan in PLANS for one in levels for stop in stops]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "model"),
    [
        # The one that leaves by signals has the plans of the other, too.
        pytest.param(kind, model, marks=pytest.mark.slow if kind is Planned or model != FLAT else ())
        for kind in (Planned, Leaving, LeavingUncompiled)
        for model in sorted(COST_MODELS)
    ],
)
def test_every_set_has_the_figures_of_the_naive_engines_trades(kind: type[Planned], model: str) -> None:
    sets, costs = sets_of(kind), COSTS.under(model)
    data, window = seeded(sets, 5, Timeframe.M15)
    sweep = StrategySweep(sets)
    outcome = sweep.run(panel_of(data), costs, CAPITAL)
    assert not outcome.failures
    assert (sweep._attempt(panel_of(data), costs, CAPITAL) is not None) == (kind is not LeavingUncompiled)
    assert sweep.compiles == (kind is not LeavingUncompiled)
    columns = [column_from(strategy, data, window) for strategy in sets]
    for index, (found, column) in enumerate(zip(outcome.figures[0], columns, strict=True)):
        [trades] = NaiveEngine().simulate([column], costs)
        expected = astuple(metrics(trades, window.candles, CAPITAL, window.split))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=str(sets[index].parameters))
        np.testing.assert_allclose(outcome.pnl(0, index), trades.pnl[trades.closed], rtol=1e-9, atol=1e-9)
    assert outcome.figures[0][:, 0].min() > 3
    assert len(np.unique(outcome.figures[0], axis=0)) >= len(sets) // 2


@pytest.mark.slow
@pytest.mark.parametrize("order", [EntryOrder.LIMIT, EntryOrder.POST_ONLY, EntryOrder.CHASE])
@pytest.mark.parametrize("kind", [pytest.param(BollingerRsi, marks=pytest.mark.slow), Leaving, LeavingUncompiled])
def test_sets_whose_entries_wait_have_the_figures_of_the_naive_engines_trades(
    kind: type[Strategy], order: EntryOrder
) -> None:
    sets = list(grid_of("bollinger_rsi").sets[:12]) if kind is BollingerRsi else sets_of(kind)[::3]
    costs = replace(COSTS, entry=LimitEntry(order, offset=0.002, bars=3, fee=0.0002, deviation=0.005))
    data, window = seeded(sets, 5, Timeframe.M15)
    sweep = StrategySweep(sets)
    at_market = sweep.run(panel_of(data), COSTS, CAPITAL)
    outcome = sweep.run(panel_of(data), costs, CAPITAL)
    again = sweep.run(panel_of(data), COSTS, CAPITAL)
    np.testing.assert_array_equal(again.figures, at_market.figures)
    assert sweep.compiles == (kind is not LeavingUncompiled)
    for index, strategy in enumerate(sets):
        column = column_from(strategy, data, window)
        [trades] = NaiveEngine().simulate([column], costs)
        expected = astuple(metrics(trades, window.candles, CAPITAL, window.split))
        np.testing.assert_allclose(outcome.figures[0, index], expected, rtol=1e-9, atol=1e-9)
        closed = trades.closed
        np.testing.assert_allclose(outcome.pnl(0, index), trades.pnl[closed], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(outcome.risk(0, index), risked(column, trades, costs)[closed], rtol=1e-9)
    assert outcome.figures[0][:, 0].sum() > 30
    assert not np.array_equal(outcome.figures, at_market.figures)


@pytest.mark.slow
def test_coins_of_a_panel_have_what_they_have_alone() -> None:
    sets = sets_of(Leaving)
    datas = [seeded(sets, seed, Timeframe.M60)[0] for seed in range(4)]
    sweep = StrategySweep(sets)
    start_ms = int(datas[0].candles.start_ms[300])
    together = sweep.run(Panel.from_members(datas, start_ms), COSTS, CAPITAL)
    assert sweep.panels
    for coin, data in enumerate(datas):
        alone = StrategySweep(sets).run(Panel.from_members([data], start_ms), COSTS, CAPITAL)
        np.testing.assert_array_equal(alone.figures[0], together.figures[coin])


@pytest.mark.parametrize("name", NAMES)
def test_shipped_strategies_have_no_exits_and_take_the_fixed_path(name: str) -> None:
    sweep = grid_of(name)
    data, window = seeded(sweep.sets, 3, Timeframe.M15)
    sweep.run(panel_of(data), COSTS, CAPITAL)
    assert sweep._plan is not None and sweep._plan.exits is None and not sweep._plan.rule.exits
    for strategy in sweep.sets:
        assert not column_from(strategy, data, window).has_exits
        assert "exits" not in strategy.parameters.model_dump()
