"""Backtests of one hour and timeframe: every scanned coin against every active strategy. No Dagster, no storing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Column, Costs, Engine, Trades, no_trades
from trading_assets.backtesting.metrics import NO_TRADES, Metrics, metrics, split_bar
from trading_assets.backtesting.parameter_choice import with_p_values
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.errors import DataError
from trading_assets.market.loading import Loader
from trading_assets.market.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.schemas.tables import BACKTEST_RESULTS
from trading_assets.settings import Settings
from trading_assets.strategies.base import DataNeeds, Strategy, StrategyData
from trading_assets.strategies.registry import ConfiguredStrategy

_log = logging.getLogger(__name__)

MIN_BARS = 50
"""A window with fewer bars (a young listing) has no trades: indicators and metrics would say nothing."""


@dataclass(frozen=True)
class _Failure:
    """Why a strategy has no decisions on a symbol."""

    error: Exception

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def costs_of(settings: Settings) -> Costs:
    """Costs and size of a simulated trade."""
    return Costs(settings.taker_fee, settings.slippage_bps / 10_000, settings.backtest_capital)


def production_engine() -> Engine:
    """The engine whose results are stored."""
    return VectorbtEngine()


def figures_of(trades: Trades, column: Column, settings: Settings) -> Metrics:
    """The figures of a column's trades that a row of `backtest_results` holds."""
    split = split_bar(len(column.candles), settings.out_of_sample_pct)
    return metrics(trades, column.candles, settings.backtest_capital, split)


def backtest_window(
    hour_ms: int,
    timeframe: Timeframe,
    scan_ids: Mapping[str, str],
    load: Loader,
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """Backtest each strategy on each symbol over the window that ends at the hour's as-of.

    A strategy that fails on a symbol has a row with zeros and the reason in `error`; the others are not touched. So has
    a symbol whose data cannot be put together (a DataError of `load`).

    Args:
        scan_ids: the scan of each symbol.
        load: gives the data of a symbol; nothing after the as-of may be in it.

    Returns:
        Rows of `backtest_results`, one per symbol and strategy, sorted by key.

    Raises:
        StorageError: the store behind `load` cannot be read.
    """
    start = window_start_ms(hour_ms, timeframe)
    keys: list[tuple[str, ConfiguredStrategy]] = []
    outcomes: list[Column | _Failure] = []
    for symbol in sorted(scan_ids):
        wanted = [strategy for strategy in strategies if strategy.covers(symbol, timeframe)]
        if not wanted:
            continue
        keys += [(symbol, strategy) for strategy in wanted]
        try:
            data = load(symbol, timeframe, merged_needs(wanted))
        except DataError as error:
            outcomes += [_Failure(error)] * len(wanted)
            continue
        outcomes += [_decided(strategy, data, start) for strategy in wanted]
    columns = [outcome for outcome in outcomes if isinstance(outcome, Column)]
    simulated = iter((engine or production_engine()).simulate(columns, costs_of(settings)))
    rows = []
    trades: list[Trades] = []
    for (symbol, strategy), outcome in zip(keys, outcomes, strict=True):
        if isinstance(outcome, Column):
            trades.append(next(simulated))
            figures = figures_of(trades[-1], outcome, settings)
            rows.append(_row(symbol, strategy, len(outcome.candles), figures, None))
        else:
            trades.append(no_trades())
            rows.append(_row(symbol, strategy, 0, NO_TRADES, str(outcome)))
    _log_failures(keys, outcomes, timeframe)
    if not rows:
        return BACKTEST_RESULTS.empty()
    frame = pd.DataFrame(rows).assign(hour_ms=hour_ms, timeframe=timeframe.value)
    frame = with_p_values(frame, lambda row: trades[row].pnl[trades[row].closed])
    return BACKTEST_RESULTS.conform(frame.assign(scan_id=frame["symbol"].map(dict(scan_ids))))


def merged_needs(strategies: Sequence[ConfiguredStrategy]) -> DataNeeds:
    """What all of them need together; funding always, since it is a cost."""
    needs = [strategy.needs() for strategy in strategies]
    return DataNeeds(
        candles=_deepest([need.candles for need in needs]),
        btc=_deepest([need.btc for need in needs]),
        funding=True,
    )


def _deepest(wanted: Sequence[Mapping[Timeframe, int]]) -> dict[Timeframe, int]:
    deepest: dict[Timeframe, int] = {}
    for one in wanted:
        for timeframe, bars in one.items():
            deepest[timeframe] = max(bars, deepest.get(timeframe, 0))
    return deepest


def window_start_ms(hour_ms: int, timeframe: Timeframe) -> int:
    """Open of the first bar of the backtest window that ends at the hour's as-of, UTC ms."""
    return floor_ms(as_of_ms(hour_ms), timeframe.ms) - timeframe.window_bars * timeframe.ms


def _decided(strategy: ConfiguredStrategy, data: StrategyData, start_ms: int) -> Column | _Failure:
    """The strategy's column, or why there is none."""
    try:
        return column_of(strategy.strategy, data, start_ms)
    except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
        return _Failure(error)


def column_of(strategy: Strategy, data: StrategyData, start_ms: int) -> Column:
    """The part of the strategy's decisions that lies in the window; raises whatever the strategy raises."""
    signals = strategy.signals(data)
    first = int(np.searchsorted(data.candles.start_ms, start_ms))
    window = data.candles.select(slice(first, None))
    enough = len(window) >= MIN_BARS
    return Column(
        candles=window,
        long=signals.long[first:] & enough,
        short=signals.short[first:] & enough,
        stop_fraction=signals.stop_distance[first:] / window.close,
        reward_risk=signals.reward_risk,
        confidence=signals.confidence[first:],
        funding=data.funding,
    )


def _log_failures(
    keys: Sequence[tuple[str, ConfiguredStrategy]],
    outcomes: Sequence[Column | _Failure],
    timeframe: Timeframe,
) -> None:
    """One line a strategy, with the traceback of its first failure."""
    failures: dict[str, list[tuple[str, _Failure]]] = {}
    for (symbol, strategy), outcome in zip(keys, outcomes, strict=True):
        if isinstance(outcome, _Failure):
            failures.setdefault(strategy.name, []).append((symbol, outcome))
    for name, found in failures.items():
        symbol, first = found[0]
        _log.warning(
            "strategy %s failed on %d coins at %s, first on %s: %s",
            name,
            len(found),
            timeframe.value,
            symbol,
            first,
            exc_info=first.error,
        )


def _row(
    symbol: str, strategy: ConfiguredStrategy, bars: int, figures: Metrics, error: str | None
) -> dict[str, object]:
    return {
        "symbol": symbol,
        "strategy": strategy.name,
        "parameters": strategy.parameters,
        "bars": bars,
        **asdict(figures),
        "error": error,
    }
