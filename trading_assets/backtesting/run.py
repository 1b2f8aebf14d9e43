"""Backtests of an hour and timeframe: every scanned coin against every set of every strategy. No Dagster, no storing.

Coins are spread over threads, one coin at a time each; the compiled sweep lets the other threads run meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.sweep import FIGURES, Outcome, StrategySweep, Window
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.selection import worth_keeping
from trading_assets.errors import DataError
from trading_assets.market.candles import FloatArray
from trading_assets.market.loading import Loader
from trading_assets.market.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.schemas.tables import BACKTEST_RESULTS
from trading_assets.settings import Settings
from trading_assets.strategies.base import DataNeeds
from trading_assets.strategies.registry import ConfiguredStrategy

_log = logging.getLogger(__name__)

_METRICS = [field.name for field in fields(Metrics)]
_SHARPE = _METRICS.index("sharpe_ratio")


def costs_of(settings: Settings) -> Costs:
    """Costs and size of a simulated trade."""
    return Costs(settings.taker_fee, settings.slippage_bps / 10_000, settings.backtest_capital)


def merged_needs(strategies: Sequence[ConfiguredStrategy]) -> DataNeeds:
    """What all of them need together; funding always, since it is a cost."""
    return DataNeeds.deepest([*(strategy.needs() for strategy in strategies), DataNeeds(funding=True)])


@dataclass(frozen=True)
class _Result:
    """A strategy on a coin. `outcome` covers every set; `bars` is 0 where the coin's data could not be loaded."""

    symbol: str
    strategy: ConfiguredStrategy
    bars: int
    outcome: Outcome


class Backtests:
    """Backtests of the same strategies, hour after hour. Used as a context manager: it owns threads."""

    def __init__(self, strategies: Sequence[ConfiguredStrategy], settings: Settings, *, threads: int | None = None):
        self._strategies = tuple(strategies)
        self._sweeps = {strategy.name: StrategySweep(strategy.sets) for strategy in strategies}
        self._costs, self._capital = costs_of(settings), settings.backtest_capital
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)

    def __enter__(self) -> Backtests:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def window(self, hour_ms: int, timeframe: Timeframe, scan_ids: Mapping[str, str], load: Loader) -> pd.DataFrame:
        """Backtest each strategy on each symbol over the window that ends at the hour's as-of.

        A strategy that fails on a symbol has a row with zeros and the reason in `error`; the others are not touched. So
        has a symbol whose data cannot be put together (a DataError of `load`).

        Args:
            scan_ids: the scan of each symbol.
            load: gives the data of a symbol; nothing after the as-of may be in it. Called by several threads.

        Returns:
            Rows of `backtest_results`, sorted by key.

        Raises:
            StorageError: the store behind `load` cannot be read.
        """
        end = floor_ms(as_of_ms(hour_ms), timeframe.ms)
        start = end - timeframe.window_bars * timeframe.ms
        results: list[_Result] = []
        for found in self._pool.map(lambda symbol: self._coin(symbol, timeframe, start, load), sorted(scan_ids)):
            results += found
        _log_failures(results, timeframe)
        frames = [
            _rows([result for result in results if result.strategy is strategy], strategy)
            for strategy in self._strategies
        ]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            return BACKTEST_RESULTS.empty()
        rows = pd.concat(frames, ignore_index=True).assign(hour_ms=hour_ms, timeframe=timeframe.value)
        return BACKTEST_RESULTS.conform(rows.assign(scan_id=rows["symbol"].map(dict(scan_ids))))

    def _coin(self, symbol: str, timeframe: Timeframe, start_ms: int, load: Loader) -> list[_Result]:
        wanted = [strategy for strategy in self._strategies if strategy.covers(symbol, timeframe)]
        if not wanted:
            return []
        try:
            data = load(symbol, timeframe, merged_needs(wanted))
        except DataError as error:
            return [_Result(symbol, strategy, 0, _all_failed(strategy, error)) for strategy in wanted]
        window = Window.of(data, start_ms)
        return [
            _Result(
                symbol,
                strategy,
                len(window.candles),
                self._sweeps[strategy.name].run(data, window, self._costs, self._capital),
            )
            for strategy in wanted
        ]


def backtest_window(
    hour_ms: int,
    timeframe: Timeframe,
    scan_ids: Mapping[str, str],
    load: Loader,
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
) -> pd.DataFrame:
    """`Backtests.window` for one hour."""
    with Backtests(strategies, settings) as backtests:
        return backtests.window(hour_ms, timeframe, scan_ids, load)


def configurations(rows: pd.DataFrame) -> int:
    """How many backtests stand behind rows of `backtest_results`: every parameter set tried, kept or not."""
    groups = rows.drop_duplicates(["hour_ms", "timeframe", "symbol", "strategy"])
    return int(groups["configurations"].sum())


def _all_failed(strategy: ConfiguredStrategy, error: Exception) -> Outcome:
    return Outcome(np.zeros((len(strategy.sets), FIGURES)), dict.fromkeys(range(len(strategy.sets)), error))


def _rows(results: Sequence[_Result], strategy: ConfiguredStrategy) -> pd.DataFrame:
    """Rows of one strategy: for each coin the sets worth keeping, and the first that failed."""
    if not results:
        return pd.DataFrame()
    figures = np.stack([result.outcome.figures for result in results])
    usable = np.ones(figures.shape[:2], dtype=bool)
    kept_failures = np.zeros_like(usable)
    errors: dict[tuple[int, int], str] = {}
    for coin, result in enumerate(results):
        for index, error in result.outcome.failures.items():
            usable[coin, index] = False
            errors[coin, index] = f"{type(error).__name__}: {error}"
        if result.outcome.failures:
            kept_failures[coin, min(result.outcome.failures)] = True
    text = np.array(strategy.parameters)
    rank = np.argsort(np.argsort(text))
    by_name = {name: figures[:, :, position] for position, name in enumerate(_METRICS)}
    coins, sets = np.nonzero(worth_keeping(by_name, rank, usable) | kept_failures)
    failed = ~usable[coins, sets]
    return pd.DataFrame(
        {
            "symbol": np.array([result.symbol for result in results])[coins],
            "strategy": strategy.name,
            "parameters": text[sets],
            "bars": np.where(failed, 0, np.array([result.bars for result in results])[coins]),
            **{name: values[coins, sets] for name, values in by_name.items()},
            "configurations": len(strategy.sets),
            "sharpe_spread": _spread(figures[:, :, _SHARPE], usable)[coins],
            "error": [errors.get(place) for place in zip(coins.tolist(), sets.tolist(), strict=True)],
        }
    )


def _spread(sharpe: FloatArray, usable: np.ndarray) -> FloatArray:
    """Standard deviation over the usable sets of each coin, shape (coins,)."""
    count = np.maximum(usable.sum(axis=1), 1)
    values = np.where(usable, sharpe, 0.0)
    mean = values.sum(axis=1) / count
    return np.sqrt((np.where(usable, sharpe - mean[:, None], 0.0) ** 2).sum(axis=1) / count)


def _log_failures(results: Sequence[_Result], timeframe: Timeframe) -> None:
    """One line a strategy, with the traceback of its first failure."""
    failed: dict[str, list[_Result]] = {}
    for result in results:
        if result.outcome.failures:
            failed.setdefault(result.strategy.name, []).append(result)
    for name, found in failed.items():
        first = next(iter(found[0].outcome.failures.values()))
        _log.warning(
            "strategy %s failed on %d coins at %s, first on %s: %s",
            name,
            len(found),
            timeframe.value,
            found[0].symbol,
            f"{type(first).__name__}: {first}",
            exc_info=first,
        )
