"""Backtests of hours at a timeframe: every scanned coin against every set of every strategy. No Dagster, no storing.

The coins of an hour are put side by side in panels, and panels are spread over threads: the compiled sweep lets the
other threads run meanwhile. Each hour is computed apart.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Column, Costs, Engine, Trades
from trading_assets.backtesting.kernel.engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Panel, panels, parts_of
from trading_assets.backtesting.kernel.sweep import Outcome, StrategySweep, no_figures, shared_indicators
from trading_assets.backtesting.metrics import Metrics, metrics, split_bar
from trading_assets.backtesting.parameter_choice import choose, tried
from trading_assets.backtesting.significance import MIN_TRADES, bootstrap_p_value, seed_of
from trading_assets.backtesting.threads import spread
from trading_assets.errors import DataError
from trading_assets.market.candles import FloatArray
from trading_assets.market.loading import Loader, OfHour
from trading_assets.market.timeframes import WARM_UP_BARS, Timeframe, as_of_ms, floor_ms
from trading_assets.schemas.tables import BACKTEST_RESULTS
from trading_assets.settings import Settings
from trading_assets.strategies.base import DataNeeds, StrategyData
from trading_assets.strategies.registry import ConfiguredStrategy

_log = logging.getLogger(__name__)

_METRICS = [field.name for field in fields(Metrics)]
_TOTAL_TRADES, _TOTAL_PNL = _METRICS.index("total_trades"), _METRICS.index("total_pnl")


def costs_of(settings: Settings) -> Costs:
    """Costs and size of a simulated trade."""
    return Costs(
        settings.taker_fee, settings.slippage_bps / 10_000, settings.backtest_capital, settings.liquidation_distance
    )


def production_engine() -> Engine:
    """The engine whose results are stored, trade by trade; `StrategySweep` has its figures without the trades."""
    return KernelEngine()


def figures_of(trades: Trades, column: Column, settings: Settings) -> Metrics:
    """The figures of a column's trades that a row of `backtest_results` holds."""
    split = split_bar(len(column.candles), settings.out_of_sample_pct)
    return metrics(trades, column.candles, settings.backtest_capital, split)


def window_start_ms(hour_ms: int, timeframe: Timeframe) -> int:
    """Open of the first bar of the backtest window that ends at the hour's as-of, UTC ms."""
    return floor_ms(as_of_ms(hour_ms), timeframe.ms) - timeframe.window_bars * timeframe.ms


def merged_needs(strategies: Sequence[ConfiguredStrategy]) -> DataNeeds:
    """What all of them need together; funding always, since it is a cost."""
    return DataNeeds.deepest([*(strategy.needs() for strategy in strategies), DataNeeds(funding=True)])


OpenCoin = Callable[[str, Timeframe, DataNeeds, Sequence[int]], OfHour]
"""Opens a coin for ascending hours: the answer gives its data as of the end of each. Called by several threads."""


@dataclass(frozen=True)
class _Block:
    """Rows of one strategy: what has one value per row besides the figures, and those, shape (rows, fields)."""

    rows: list[dict[str, object]]
    figures: FloatArray


class Backtests:
    """Backtests of the same strategies on several coins and hours. Used as a context manager: it owns threads."""

    def __init__(
        self, strategies: Sequence[ConfiguredStrategy], settings: Settings, *, threads: int | None = None
    ) -> None:
        self._strategies = tuple(strategies)
        self._sweeps = {strategy.name: StrategySweep(strategy.sets) for strategy in strategies}
        self._costs, self._settings = costs_of(settings), settings
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)

    def __enter__(self) -> Backtests:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def rows(
        self,
        timeframe: Timeframe,
        scans: Mapping[int, Mapping[str, str]],
        open_coin: OpenCoin,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Backtest each strategy on each scanned coin over the window that ends at each hour's as-of.

        A coin is read once for all its hours, but each hour is computed apart, from what was known at its end. A
        strategy that fails on a coin has a row with zeros and the reason in `error`; the others are not touched. So has
        a coin whose data cannot be put together (a DataError of `open_coin` or of what it gave).

        Args:
            scans: for each hour (UTC ms) the scan of each symbol.
            progress: told how many backtested coins of how many are done, all hours together.

        Returns:
            Rows of `backtest_results`, sorted by key.

        Raises:
            StorageError: the store behind `open_coin` cannot be read.
        """
        wanted = cache(lambda symbol: tuple(one for one in self._strategies if one.covers(symbol, timeframe)))
        needs = cache(merged_needs)
        hours_of: dict[str, list[int]] = {}
        for hour in sorted(scans):
            for symbol in sorted(scans[hour]):
                if wanted(symbol):
                    hours_of.setdefault(symbol, []).append(hour)

        def open_one(symbol: str) -> OfHour:
            try:
                return open_coin(symbol, timeframe, needs(wanted(symbol)), hours_of[symbol])
            except DataError as error:
                return _refuse(error)

        opened = dict(zip(hours_of, self._pool.map(open_one, hours_of), strict=True))
        # Something to do for every thread; many hours are that already.
        least = -(-self._threads // max(len(scans), 1))
        tasks = [
            (hour, symbols)
            for hour in sorted(scans)
            for symbols in _split([symbol for symbol in sorted(scans[hour]) if symbol in opened], timeframe, least)
        ]

        done: list[int] = []
        total = sum(len(symbols) for _, symbols in tasks)

        def work(task: tuple[int, Sequence[str]]) -> list[_Block]:
            blocks = self._task(*task, timeframe, opened, wanted)
            done.append(len(task[1]))
            return blocks

        def tell(_tasks: int) -> None:
            if progress is not None:
                progress(sum(done), total)

        found = spread(self._pool, self._threads, work, tasks, tell)
        blocks = [block for of_task in found for block in of_task]
        if not blocks:
            return BACKTEST_RESULTS.empty()
        frame = pd.DataFrame([row for block in blocks for row in block.rows])
        figures = pd.DataFrame(np.concatenate([block.figures for block in blocks]), columns=_METRICS)
        frame = pd.concat([frame, figures], axis=1)
        _log_failures(frame, timeframe)
        scanned = [scans[hour][symbol] for hour, symbol in zip(frame["hour_ms"], frame["symbol"], strict=True)]
        return BACKTEST_RESULTS.conform(frame.assign(scan_id=scanned))

    def _task(
        self,
        hour: int,
        symbols: Sequence[str],
        timeframe: Timeframe,
        opened: Mapping[str, OfHour],
        wanted: Callable[[str], tuple[ConfiguredStrategy, ...]],
    ) -> list[_Block]:
        """Some coins of an hour."""
        members: dict[tuple[ConfiguredStrategy, ...], list[StrategyData]] = {}
        blocks: list[_Block] = []
        for symbol in symbols:
            try:
                members.setdefault(wanted(symbol), []).append(opened[symbol](hour))
            except DataError as error:
                blocks += [
                    self._block(hour, timeframe, (symbol,), 0, one, _all_failed(one, error)) for one in wanted(symbol)
                ]
        start_ms = window_start_ms(hour, timeframe)
        for strategies, data in members.items():
            for _, panel in panels(data, start_ms, self._settings.out_of_sample_pct):
                blocks += self._of_panel(hour, timeframe, panel, strategies)
        return blocks

    def _of_panel(
        self, hour: int, timeframe: Timeframe, panel: Panel, strategies: Sequence[ConfiguredStrategy]
    ) -> Iterator[_Block]:
        symbols = [member.symbol for member in panel.members]
        with shared_indicators():
            for strategy in strategies:
                outcome = self._sweeps[strategy.name].run(panel, self._costs, self._settings.backtest_capital)
                yield self._block(hour, timeframe, symbols, panel.bars, strategy, outcome)

    def _block(
        self,
        hour: int,
        timeframe: Timeframe,
        symbols: Sequence[str],
        bars: int,
        strategy: ConfiguredStrategy,
        outcome: Outcome,
    ) -> _Block:
        """Of each coin the row of the chosen parameter set, and that of the first that failed.

        Only a chosen set that earned anything has a p-value, since nothing else can be selected.
        """
        usable = outcome.usable
        chosen = choose(outcome.figures, strategy.parameters, usable)
        of_all = tried(outcome.figures, usable)
        failed: dict[int, int] = {}
        for coin, index in outcome.failures:
            failed[coin] = min(index, failed.get(coin, index))
        rows, places = [], []
        for coin, symbol in enumerate(symbols):
            common: dict[str, object] = {
                "hour_ms": hour,
                "timeframe": timeframe.value,
                "symbol": symbol,
                "strategy": strategy.name,
                "configurations": len(strategy.sets),
                **{name: values[coin] for name, values in vars(of_all).items()},
            }
            index = int(chosen[coin])
            if index >= 0:
                row = {**common, "parameters": strategy.parameters[index], "bars": bars, "error": None}
                rows.append({**row, "p_value": _p_value(row, outcome, coin, index)})
                places.append((coin, index))
            if coin in failed:
                reason = outcome.failures[coin, failed[coin]]
                text = f"{type(reason).__name__}: {reason}"
                row = {**common, "parameters": strategy.parameters[failed[coin]], "bars": 0, "error": text}
                rows.append({**row, "p_value": math.nan})
                places.append((coin, failed[coin]))
                _log.debug("%s failed on %s", strategy.name, symbol, exc_info=reason)
        return _Block(rows, outcome.figures[tuple(np.array(places).T)])


def backtest_window(
    hour_ms: int,
    timeframe: Timeframe,
    scan_ids: Mapping[str, str],
    load: Loader,
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
) -> pd.DataFrame:
    """`Backtests.rows` for one hour whose data `load` gives."""

    def open_coin(symbol: str, timeframe: Timeframe, needs: DataNeeds, _hours: Sequence[int]) -> OfHour:
        return lambda _hour: load(symbol, timeframe, needs)

    with Backtests(strategies, settings) as backtests:
        return backtests.rows(timeframe, {hour_ms: scan_ids}, open_coin)


def configurations(rows: pd.DataFrame) -> int:
    """How many backtests stand behind rows of `backtest_results`: every parameter set tried, kept or not."""
    groups = rows.drop_duplicates(["hour_ms", "timeframe", "symbol", "strategy"])
    return int(groups["configurations"].sum())


def _split(symbols: Sequence[str], timeframe: Timeframe, least: int) -> Iterator[Sequence[str]]:
    """The symbols in parts that fill a panel each, at least so many parts."""
    parts = max(parts_of(len(symbols), timeframe.window_bars + WARM_UP_BARS), min(least, len(symbols)))
    for part in range(parts):
        yield symbols[part::parts]


def _refuse(error: DataError) -> OfHour:
    def of_hour(_hour_ms: int) -> StrategyData:
        raise error

    return of_hour


def _all_failed(strategy: ConfiguredStrategy, error: Exception) -> Outcome:
    """Of one coin."""
    sets = len(strategy.sets)
    starts = np.zeros((1, sets), dtype=np.int64)
    return Outcome(no_figures(sets)[None], np.empty(0), starts, {(0, index): error for index in range(sets)})


def _p_value(row: Mapping[str, object], outcome: Outcome, coin: int, index: int) -> float:
    closed, pnl = outcome.figures[coin, index, [_TOTAL_TRADES, _TOTAL_PNL]]
    if closed < MIN_TRADES or pnl <= 0:
        return math.nan
    seed = seed_of(tuple(row[name] for name in BACKTEST_RESULTS.key))
    return bootstrap_p_value(outcome.pnl(coin, index), seed)


def _log_failures(rows: pd.DataFrame, timeframe: Timeframe) -> None:
    """One line a strategy."""
    for name, failed in rows[rows["error"].notna()].groupby("strategy"):
        first = failed.iloc[0]
        _log.warning(
            "strategy %s failed on %d coins at %s, first on %s: %s",
            name,
            failed["symbol"].nunique(),
            timeframe.value,
            first["symbol"],
            first["error"],
        )
