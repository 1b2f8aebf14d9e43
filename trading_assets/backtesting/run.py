"""Backtests of an hour and timeframe: every scanned coin against every set of every strategy. No Dagster, no storing.

Coins are spread over threads, one coin at a time each; the compiled sweep lets the other threads run meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
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
from trading_assets.market.loading import Loader, OfHour
from trading_assets.market.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.schemas.tables import BACKTEST_RESULTS
from trading_assets.settings import Settings
from trading_assets.strategies.base import DataNeeds, StrategyData
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


OpenCoin = Callable[[str, Timeframe, DataNeeds, Sequence[int]], OfHour]
"""Opens a coin for ascending hours: the answer gives its data as of the end of each. Called by several threads."""


@dataclass(frozen=True)
class _Result:
    """A strategy on a coin and hour. `outcome` covers every set; `bars` is 0 where the data could not be loaded."""

    hour_ms: int
    bars: int
    outcome: Outcome


class Backtests:
    """Backtests of the same strategies on several coins and hours. Used as a context manager: it owns threads."""

    def __init__(
        self, strategies: Sequence[ConfiguredStrategy], settings: Settings, *, threads: int | None = None
    ) -> None:
        self._strategies = tuple(strategies)
        self._sweeps = {strategy.name: StrategySweep(strategy.sets) for strategy in strategies}
        self._costs, self._capital = costs_of(settings), settings.backtest_capital
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
        frames: list[pd.DataFrame] = []
        for done, found in enumerate(
            self._pool.map(lambda coin: self._coin(coin[0], coin[1], timeframe, open_coin), coins), 1
        ):
            frames += found
            if progress is not None:
                progress(done, len(coins))
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            return BACKTEST_RESULTS.empty()
        rows = pd.concat(frames, ignore_index=True)
        _log_failures(rows, timeframe)
        scanned = [scans[hour][symbol] for hour, symbol in zip(rows["hour_ms"], rows["symbol"], strict=True)]
        return BACKTEST_RESULTS.conform(rows.assign(timeframe=timeframe.value, scan_id=scanned))

    def _coin(self, symbol: str, hours: list[int], timeframe: Timeframe, open_coin: OpenCoin) -> list[pd.DataFrame]:
        wanted = [strategy for strategy in self._strategies if strategy.covers(symbol, timeframe)]
        if not wanted:
            return []
        results: dict[str, list[_Result]] = {strategy.name: [] for strategy in wanted}
        try:
            of_hour = open_coin(symbol, timeframe, merged_needs(wanted), hours)
        except DataError as error:
            of_hour = _refuse(error)
        for hour in hours:
            try:
                data = of_hour(hour)
            except DataError as error:
                for strategy in wanted:
                    results[strategy.name].append(_Result(hour, 0, _all_failed(strategy, error)))
                continue
            end = floor_ms(as_of_ms(hour), timeframe.ms)
            window = Window.of(data, end - timeframe.window_bars * timeframe.ms)
            for strategy in wanted:
                outcome = self._sweeps[strategy.name].run(data, window, self._costs, self._capital)
                results[strategy.name].append(_Result(hour, len(window.candles), outcome))
        return [_rows(symbol, strategy, results[strategy.name]) for strategy in wanted]


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
    return Outcome(np.zeros((len(strategy.sets), FIGURES)), dict.fromkeys(range(len(strategy.sets)), error))


def _rows(symbol: str, strategy: ConfiguredStrategy, results: Sequence[_Result]) -> pd.DataFrame:
    """Rows of one coin and strategy: for each hour the sets worth keeping, and the first that failed."""
    figures = np.stack([result.outcome.figures for result in results])
    usable = np.ones(figures.shape[:2], dtype=bool)
    kept_failures = np.zeros_like(usable)
    errors: dict[tuple[int, int], str] = {}
    for at, result in enumerate(results):
        for index, error in result.outcome.failures.items():
            usable[at, index] = False
            errors[at, index] = f"{type(error).__name__}: {error}"
        if result.outcome.failures:
            first = min(result.outcome.failures)
            kept_failures[at, first] = True
            _log.debug("%s failed on %s", strategy.name, symbol, exc_info=result.outcome.failures[first])
    text = np.array(strategy.parameters)
    rank = np.argsort(np.argsort(text))
    by_name = {name: figures[:, :, position] for position, name in enumerate(_METRICS)}
    hours, sets = np.nonzero(worth_keeping(by_name, rank, usable) | kept_failures)
    bars = np.array([result.bars for result in results])
    return pd.DataFrame(
        {
            "hour_ms": np.array([result.hour_ms for result in results])[hours],
            "symbol": symbol,
            "strategy": strategy.name,
            "parameters": text[sets],
            "bars": np.where(usable[hours, sets], bars[hours], 0),
            **{name: values[hours, sets] for name, values in by_name.items()},
            "configurations": len(strategy.sets),
            "sharpe_spread": _spread(figures[:, :, _SHARPE], usable)[hours],
            "error": [errors.get(place) for place in zip(hours.tolist(), sets.tolist(), strict=True)],
        }
    )


def _spread(sharpe: FloatArray, usable: np.ndarray) -> FloatArray:
    """Standard deviation over the usable sets of each row, shape (rows,)."""
    count = np.maximum(usable.sum(axis=1), 1)
    mean = np.where(usable, sharpe, 0.0).sum(axis=1) / count
    return np.sqrt((np.where(usable, sharpe - mean[:, None], 0.0) ** 2).sum(axis=1) / count)


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
