"""Backtests of one hour whose data a function gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from trading_assets.backtesting.run import BacktestRunner, FailureTeller
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import Timeframe
from trading_assets.market.loading import Loader, OpenedData
from trading_assets.strategies.registry import ConfiguredStrategy


def backtest_window(
    hour_ms: int,
    timeframe: Timeframe,
    scan_ids: Mapping[str, str],
    load: Loader,
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
    tell_failure: FailureTeller | None = None,
) -> pd.DataFrame:
    """`BacktestRunner.rows` for one hour whose data `load` gives."""

    def open_strategy_data(symbol: str, timeframe: Timeframe, needs: DataNeeds, _hours: Sequence[int]) -> OpenedData:
        return OpenedData(lambda _hour: load(symbol, timeframe, needs))

    with BacktestRunner(strategies, settings, tell_failure=tell_failure) as backtests:
        return backtests.rows(timeframe, {hour_ms: scan_ids}, open_strategy_data)
