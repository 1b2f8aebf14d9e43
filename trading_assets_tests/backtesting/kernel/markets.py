"""Strategies, their sweeps and markets to run them on. No test here."""

from __future__ import annotations

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.panel import Panel, Window
from trading_assets.backtesting.kernel.sweep import StrategySweep
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.grids import DECLARED
from trading_assets.strategies.registry import parameter_sets, strategy_classes
from trading_assets_tests.strategies.markets import market

COSTS = Costs(fee=0.00055, slippage=0.0002, notional=1000.0)
CAPITAL = 1000.0
OUT_OF_SAMPLE_PCT = 30.0
NAMES = sorted(strategy_classes())


def grid_of(name: str) -> StrategySweep:
    """A built-in strategy with its whole grid."""
    return StrategySweep(parameter_sets(name, grid=DECLARED))


def seeded(sets: tuple[Strategy, ...], seed: int, timeframe: Timeframe) -> tuple[StrategyData, Window]:
    """A random market, and the window behind its warm-up, its newest 30 % out of sample."""
    needs = DataNeeds.deepest(strategy.needs() for strategy in sets)
    data = market(seed, timeframe, needs, bars=WARM_UP_BARS + min(timeframe.window_bars, 700), days=100)
    return data, window_of(data)


def window_of(data: StrategyData) -> Window:
    """The bars behind the warm-up, the newest 30 % out of sample."""
    return Window.from_data(data, start_of(data), OUT_OF_SAMPLE_PCT)


def panel_of(*members: StrategyData) -> Panel:
    """A panel of the same bars."""
    return Panel.from_members(members, start_of(members[0]), OUT_OF_SAMPLE_PCT)


def start_of(data: StrategyData) -> int:
    """Start of the first bar behind the warm-up."""
    return int(data.candles.start_ms[min(WARM_UP_BARS, len(data.candles) - 1)])
