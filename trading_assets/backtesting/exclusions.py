"""Exclusions: coins with bad candles are not backtested, and their rows have the reason.

What is wrong with candles, `market.quality` finds; how good ones are backtested, `backtesting.run` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from trading_assets.backtesting.run import BacktestRunner, DataOpener
from trading_assets.core.candles import FUNDING, CandleFaults, data_name
from trading_assets.core.errors import DataError
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.market.loading import DataByHour, stored_candles
from trading_assets.market.store import Progress
from trading_assets.strategies.registry import ConfiguredStrategy


def exclusion_reason(symbol: str, timeframe: Timeframe, needs: DataNeeds, faults: CandleFaults, btc: str) -> str | None:
    """What is wrong with candles that the backtest would read; None where they are good."""
    read = [*stored_candles(symbol, timeframe, needs, btc), (FUNDING, symbol)]
    return "; ".join(f"{data_name(*one)}: {faults[one]}" for one in read if one in faults) or None


def backtest_with_exclusions(
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
    timeframe: Timeframe,
    scans: Mapping[int, Mapping[str, str]],
    open_strategy_data: DataOpener,
    faults: Mapping[int, CandleFaults],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """`BacktestRunner.rows`; a strategy that would read bad candles has a row of zeros, its reason in `error`.

    Args:
        faults: by hour (UTC ms); hours without any may be absent.
    """
    btc = settings.symbols.btc
    needs = {strategy.name: strategy.needs() for strategy in strategies}
    routes: dict[tuple[str, ...], dict[int, dict[str, str]]] = {(): {hour: {} for hour in scans}}
    reasons: dict[tuple[int, str], str] = {}
    for hour, symbols in scans.items():
        hour_faults = faults.get(hour)
        if not hour_faults:
            routes[()][hour] = dict(symbols)
            continue
        for symbol, scan in symbols.items():
            why = {name: exclusion_reason(symbol, timeframe, needs[name], hour_faults, btc) for name in needs}
            out = tuple(name for name, reason in why.items() if reason is not None)
            routes.setdefault(out, {}).setdefault(hour, {})[symbol] = scan
            if out:
                reasons[hour, symbol] = next(reason for reason in why.values() if reason is not None)

    def refuse(symbol: str, _timeframe: Timeframe, _needs: DataNeeds, _hours: Sequence[int]) -> DataByHour:
        def data_at(hour_ms: int) -> StrategyData:
            raise DataError(reasons[hour_ms, symbol])

        return data_at

    parts = []
    for excluded, hours in routes.items():
        left = [strategy for strategy in strategies if strategy.name not in excluded]
        with BacktestRunner(left, settings) as backtests:
            parts.append(backtests.rows(timeframe, hours, open_strategy_data, progress=progress))
        if excluded:
            with BacktestRunner(
                [strategy for strategy in strategies if strategy.name in excluded], settings
            ) as backtests:
                parts.append(backtests.rows(timeframe, hours, refuse))
    if len(parts) == 1:
        return parts[0]
    some = [part for part in parts if len(part)]
    return BACKTEST_RESULTS.conform(pd.concat(some, ignore_index=True)) if some else BACKTEST_RESULTS.empty()
