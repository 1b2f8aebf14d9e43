"""Backtests of an hour and timeframe: every scanned coin against every set of every strategy. No Dagster, no storing.

Coins are spread over threads, one coin at a time each; the compiled sweep lets the other threads run meanwhile.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Column, Costs, Engine, Trades
from trading_assets.backtesting.kernel.engine import KernelEngine
from trading_assets.backtesting.kernel.sweep import Outcome, StrategySweep, Window, no_figures, shared_indicators
from trading_assets.backtesting.metrics import Metrics, metrics, split_bar
from trading_assets.backtesting.parameter_choice import Tried, choose, tried
from trading_assets.backtesting.significance import MIN_TRADES, bootstrap_p_value, seed_of
from trading_assets.errors import DataError
from trading_assets.market.loading import Loader, OfHour
from trading_assets.market.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.schemas.tables import BACKTEST_RESULTS
from trading_assets.settings import Settings
from trading_assets.strategies.base import DataNeeds, StrategyData
from trading_assets.strategies.registry import ConfiguredStrategy

_log = logging.getLogger(__name__)

_METRICS = [field.name for field in fields(Metrics)]
_TOTAL_TRADES, _TOTAL_PNL = _METRICS.index("total_trades"), _METRICS.index("total_pnl")


def costs_of(settings: Settings) -> Costs:
    """Costs and size of a simulated trade."""
    return Costs(settings.taker_fee, settings.slippage_bps / 10_000, settings.backtest_capital)


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


class Backtests:
    """Backtests of the same strategies on several coins and hours. Used as a context manager: it owns threads."""

    def __init__(
        self, strategies: Sequence[ConfiguredStrategy], settings: Settings, *, threads: int | None = None
    ) -> None:
        self._strategies = tuple(strategies)
        self._sweeps = {strategy.name: StrategySweep(strategy.sets) for strategy in strategies}
        self._costs, self._settings = costs_of(settings), settings
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)

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
            progress: told how many coins of how many are done.

        Returns:
            Rows of `backtest_results`, sorted by key.

        Raises:
            StorageError: the store behind `open_coin` cannot be read.
        """
        hours_of: dict[str, list[int]] = {}
        for hour in sorted(scans):
            for symbol in scans[hour]:
                hours_of.setdefault(symbol, []).append(hour)
        coins = sorted(hours_of.items())
        rows: list[dict[str, object]] = []
        for done, found in enumerate(
            self._pool.map(lambda coin: self._coin(coin[0], coin[1], timeframe, open_coin), coins), 1
        ):
            rows += found
            if progress is not None:
                progress(done, len(coins))
        if not rows:
            return BACKTEST_RESULTS.empty()
        frame = pd.DataFrame(rows)
        _log_failures(frame, timeframe)
        scanned = [scans[hour][symbol] for hour, symbol in zip(frame["hour_ms"], frame["symbol"], strict=True)]
        return BACKTEST_RESULTS.conform(frame.assign(scan_id=scanned))

    def _coin(
        self, symbol: str, hours: list[int], timeframe: Timeframe, open_coin: OpenCoin
    ) -> list[dict[str, object]]:
        wanted = [strategy for strategy in self._strategies if strategy.covers(symbol, timeframe)]
        if not wanted:
            return []
        try:
            of_hour = open_coin(symbol, timeframe, merged_needs(wanted), hours)
        except DataError as error:
            of_hour = _refuse(error)
        rows: list[dict[str, object]] = []
        for hour in hours:
            key: dict[str, object] = {"hour_ms": hour, "timeframe": timeframe.value, "symbol": symbol}
            try:
                data = of_hour(hour)
            except DataError as error:
                for strategy in wanted:
                    rows += _rows({**key, "strategy": strategy.name}, strategy, 0, _all_failed(strategy, error))
                continue
            window = Window.of(data, window_start_ms(hour, timeframe), self._settings.out_of_sample_pct)
            with shared_indicators():
                for strategy in wanted:
                    sweep = self._sweeps[strategy.name]
                    outcome = sweep.run(data, window, self._costs, self._settings.backtest_capital)
                    trades = partial(sweep.trades, data=data, window=window, costs=self._costs)
                    rows += _rows({**key, "strategy": strategy.name}, strategy, len(window.candles), outcome, trades)
        return rows


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


def _refuse(error: DataError) -> OfHour:
    def of_hour(_hour_ms: int) -> StrategyData:
        raise error

    return of_hour


def _all_failed(strategy: ConfiguredStrategy, error: Exception) -> Outcome:
    sets = len(strategy.sets)
    return Outcome(no_figures(sets), dict.fromkeys(range(sets), error))


def _rows(
    key: Mapping[str, object],
    strategy: ConfiguredStrategy,
    bars: int,
    outcome: Outcome,
    trades_of: Callable[[int], Trades] | None = None,
) -> list[dict[str, object]]:
    """The row of the chosen parameter set, and that of the first that failed.

    Only a chosen set that earned anything has a p-value, since nothing else can be selected: its trades are made for
    that.
    """
    usable = np.ones(len(strategy.sets), dtype=bool)
    usable[list(outcome.failures)] = False
    of_all = tried(outcome.figures, usable)
    rows = []
    chosen = choose(outcome.figures, strategy.parameters, usable)
    if chosen is not None:
        row = _row(key, strategy, chosen, bars, outcome, of_all)
        closed, pnl = outcome.figures[chosen, [_TOTAL_TRADES, _TOTAL_PNL]]
        if trades_of is not None and closed >= MIN_TRADES and pnl > 0:
            try:
                trades = trades_of(chosen)
            except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
                return _rows(key, strategy, 0, _all_failed(strategy, error))
            seed = seed_of(tuple(row[name] for name in BACKTEST_RESULTS.key))
            row["p_value"] = bootstrap_p_value(trades.pnl[trades.closed], seed)
        rows.append(row)
    if outcome.failures:
        failed = min(outcome.failures)
        reason = outcome.failures[failed]
        text = f"{type(reason).__name__}: {reason}"
        rows.append({**_row(key, strategy, failed, 0, outcome, of_all), "error": text})
        _log.debug("%s failed on %s", strategy.name, key["symbol"], exc_info=reason)
    return rows


def _row(
    key: Mapping[str, object], strategy: ConfiguredStrategy, index: int, bars: int, outcome: Outcome, of_all: Tried
) -> dict[str, object]:
    return {
        **key,
        "parameters": strategy.parameters[index],
        "bars": bars,
        **dict(zip(_METRICS, outcome.figures[index].tolist(), strict=True)),
        "p_value": math.nan,
        "configurations": len(strategy.sets),
        **vars(of_all),
        "error": None,
    }


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
