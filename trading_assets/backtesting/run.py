"""Backtests of hours at a timeframe: every scanned coin against every parameter set of every strategy. No storing.

Coins are put side by side in panels, and worker threads share the panels: the compiled sweep releases the interpreter
meanwhile. The hours of a UTC day that are asked for together share indicators, decisions and trades; each gets what it
gets alone, to the last bit.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import cost_columns, costs_from
from trading_assets.backtesting.day_panels import (
    DayPanels,
    KnownLast,
    OpenedByWarmUp,
    filled_up,
    groups,
    known_last,
    split,
    window_start_ms,
    with_equal_times,
)
from trading_assets.backtesting.engine import Column, Engine, Trades
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Panel
from trading_assets.backtesting.kernel.sweep import StrategySweep, shared_indicators
from trading_assets.backtesting.kernel.sweep_result import SweepResult, merged_sets, no_figures
from trading_assets.backtesting.metrics import Metrics, metrics, split_bar
from trading_assets.backtesting.result_rows import Block, frame_of, log_failures, rows_of
from trading_assets.backtesting.searching import search_window
from trading_assets.backtesting.worker_threads import map_on_workers, threads_by_default
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.market.loading import OpenedData
from trading_assets.market.lookback import anchor_ms, first_decided_ms
from trading_assets.market.store import Progress
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.failures import StrategyFailure, failure_of
from trading_assets.strategies.registry import ConfiguredStrategy


def production_engine() -> Engine:
    """The engine whose results are stored, trade by trade; `StrategySweep` has its figures without the trades."""
    return KernelEngine()


def metrics_from(trades: Trades, column: Column, capital: float, held_back_pct: float) -> Metrics:
    """The figures of a column's trades that a row of `backtest_results` holds."""
    return metrics(trades, column.candles, capital, split_bar(len(column.candles), held_back_pct))


def merged_needs(strategies: Sequence[ConfiguredStrategy]) -> DataNeeds:
    """What all of them need together; funding always, since it is a cost."""
    return DataNeeds.deepest([*(strategy.needs() for strategy in strategies), DataNeeds(funding=True)])


DataOpener = Callable[[str, Timeframe, DataNeeds, Sequence[int]], OpenedData]
"""Opens a coin's data for ascending hours: the answer gives them as of the end of each. Several threads call it."""


@dataclass(frozen=True)
class _Part:
    """The sets of a strategy that declare the same data, by their places, and their sweep.

    `warm_up` is that of the timeframe.
    """

    warm_up: int
    needs: DataNeeds
    places: tuple[int, ...]
    sweep: StrategySweep


FailureTeller = Callable[[int, StrategyFailure], None]
"""Called with an hour (UTC ms) and what a strategy raised in it."""


@dataclass(frozen=True)
class _Raised:
    """A set of a strategy that raised: the newest hour first, then by coin and set."""

    order: tuple[int, str, int]
    strategy: Strategy
    error: Exception


@dataclass(frozen=True)
class _Task:
    """Coins in hours of a day.

    Attributes:
        hours: of each symbol, ascending.
        last: see `known_last`, with its `end_hour`.
    """

    hours: Mapping[str, Sequence[int]]
    last: Mapping[str, KnownLast]
    end_hour: int


_Work = Callable[[_Task], list[Block]]

_Reader = Callable[[str, int], OpenedData]
"""Opens the data of a symbol behind so many bars of warm-up."""


class BacktestRunner:
    """Runs backtests of the same strategies on several coins and hours. A context manager: it owns worker threads."""

    def __init__(
        self,
        strategies: Sequence[ConfiguredStrategy],
        settings: Settings,
        *,
        threads: int | None = None,
        tell_failure: FailureTeller | None = None,
    ) -> None:
        """
        Args:
            tell_failure: told one failure of each strategy that raises, that of the newest hour, once `rows` has all.
        """
        self._strategies = tuple(strategies)
        self._sweeps: dict[tuple[str, tuple[int, ...]], StrategySweep] = {}
        self._settings = settings
        declared = {one.name: as_declared(settings, type(one.sets[0])) for one in self._strategies}
        self._costs = {name: costs_from(its) for name, its in declared.items()}
        self._made_with = {name: cost_columns(its) for name, its in declared.items()}
        self._held_back = settings.out_of_sample_pct
        self._threads = threads or threads_by_default()
        self._pool = ThreadPoolExecutor(self._threads)
        self._tell_failure = tell_failure
        self._raised: dict[str, _Raised] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> BacktestRunner:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def rows(
        self,
        timeframe: Timeframe,
        scans: Mapping[int, Mapping[str, str]],
        open_strategy_data: DataOpener,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Backtest each strategy on each scanned coin over the window that ends at each hour's as-of.

        A coin is read once for all its hours, and the hours of a day are computed together (`StrategySweep.run_day`),
        but each has the rows that it has alone, from what was known at its end. Each parameter set is computed behind
        its own warm-up and sees as much of other timeframes as it declares itself, as live does, whatever the others
        declare. A strategy that searches a space does so anew in each hour, on each coin, whatever else is computed. A
        strategy that fails on a coin has a row with zeros and the reason in `error`; the others are not
        touched. So has a coin whose
        data cannot be put together (a DataError of `open_strategy_data` or of what it gave).

        Args:
            scans: for each hour (UTC ms) the scan of each symbol.
            progress: told how many backtested coins of how many are done, all hours together.

        Returns:
            Rows of `backtest_results`, sorted by key.

        Raises:
            StorageError: the store behind `open_strategy_data` cannot be read.
        """
        wanted = cache(lambda symbol: tuple(one for one in self._strategies if one.covers(symbol, timeframe)))
        needs = cache(merged_needs)
        parts = {strategy.name: self._parts(strategy, timeframe) for strategy in self._strategies}
        longest = max((part.warm_up for of_one in parts.values() for part in of_one), default=0)
        bars = timeframe.window_bars + longest
        hours_by_symbol: dict[str, list[int]] = {}
        for hour in sorted(scans):
            for symbol in sorted(scans[hour]):
                if wanted(symbol):
                    hours_by_symbol.setdefault(symbol, []).append(hour)

        days: dict[int, list[int]] = {}
        for hour in sorted(scans):
            days.setdefault(anchor_ms(hour), []).append(hour)

        def open_one(symbol: str) -> Mapping[int, OpenedData]:
            strategies = wanted(symbol)
            # To the end of its last day, as far as other coins are read.
            hours = sorted({*hours_by_symbol[symbol], days[anchor_ms(hours_by_symbol[symbol][-1])][-1]})
            warm_ups = sorted({part.warm_up for one in strategies for part in parts[one.name]})
            try:
                return {
                    bars: open_strategy_data(symbol, timeframe, replace(needs(strategies), warm_up=bars), hours)
                    for bars in warm_ups
                }
            except DataError as error:
                return dict.fromkeys(warm_ups, _refuse(error))

        def read(symbol: str, warm_up: int) -> OpenedData:
            declared = replace(needs(wanted(symbol)), warm_up=warm_up)
            return open_strategy_data(symbol, timeframe, declared, hours_by_symbol[symbol])

        blocks: list[Block] = []
        done: list[int] = []
        total = sum(map(len, hours_by_symbol.values()))
        bars += max(of_day[-1] - of_day[0] for of_day in days.values()) // timeframe.ms if days else 0

        def tell(_tasks: int) -> None:
            if progress is not None:
                progress(sum(done), total)

        for coins in groups(list(hours_by_symbol), sorted(scans), timeframe, bars):
            opened = dict(zip(coins, self._pool.map(open_one, coins), strict=True))
            work = partial(self._task, timeframe=timeframe, opened=opened, wanted=wanted, parts=parts, read=read)

            def counted(task: _Task, work: _Work = work) -> list[Block]:
                found = work(task)
                done.append(sum(map(len, task.hours.values())))
                return found

            # A day for each thread at a time: coins that are filled up are copies.
            for first in range(0, len(days), self._threads):
                some = dict(list(days.items())[first : first + self._threads])
                tasks = self._tasks(some, coins, scans, opened)
                for task_blocks in map_on_workers(self._pool, self._threads, counted, tasks, tell):
                    blocks += task_blocks
            tasks.clear()  # before the next coins are read
            opened.clear()
        if not blocks:
            return BACKTEST_RESULTS.empty()
        frame = frame_of(blocks)
        blocks.clear()
        log_failures(frame, timeframe)
        self._tell_failures(timeframe, open_strategy_data)
        keys = zip(frame["hour_ms"].tolist(), frame["symbol"].tolist(), strict=True)
        scanned, strategies = [scans[hour][symbol] for hour, symbol in keys], frame["strategy"].tolist()
        made_with: dict[str, Any] = {
            name: [self._made_with[strategy][name] for strategy in strategies] for name in cost_columns(self._settings)
        }
        made_with["held_back_pct"] = self._held_back
        return BACKTEST_RESULTS.conform(frame.assign(scan_id=scanned, **made_with))

    def _tell_failures(self, timeframe: Timeframe, open_strategy_data: DataOpener) -> None:
        tell = self._tell_failure
        for _, one in sorted(self._raised.items()):
            if tell is None:
                break
            hour, symbol = -one.order[0], one.order[1]
            needs = one.strategy.needs()
            needs = replace(needs, funding=True, warm_up=needs.warm_up_bars(timeframe))
            try:
                data = open_strategy_data(symbol, timeframe, needs, [hour])(hour)
            except DataError:  # what it needs alone cannot be put together again: the traceback is known all the same
                data = None
            tell(hour, failure_of(one.strategy, symbol, timeframe, data, one.error))
        self._raised.clear()

    def _tasks(
        self,
        days: Mapping[int, Sequence[int]],
        coins: Sequence[str],
        scans: Mapping[int, Mapping[str, str]],
        opened: OpenedByWarmUp,
    ) -> list[_Task]:
        """What is computed together: the hours of a day of coins with the same bars."""
        refused = {symbol: next(iter(opened[symbol].values())).refused for symbol in coins}
        asked = [
            (anchor, symbol, hours)
            for anchor, of_day in days.items()
            for symbol in coins
            if (hours := [hour for hour in of_day if symbol in scans[hour] and hour not in refused[symbol]])
        ]
        data = map_on_workers(
            self._pool, self._threads, lambda one: known_last(opened[one[1]], one[2], days[one[0]][-1]), asked
        )
        by_day: dict[int, tuple[dict[str, list[int]], dict[str, KnownLast]]] = {}
        for (anchor, symbol, hours), last in zip(asked, data, strict=True):
            of_day, of_coins = by_day.setdefault(anchor, ({}, {}))
            of_day[symbol], of_coins[symbol] = hours, last
        # Something to do for every thread; many days are that already.
        least = -(-self._threads // max(len(by_day), 1))
        tasks = [
            _Task({symbol: [hour]}, {symbol: DataError(refused[symbol][hour])}, hour)
            for of_day in days.values()
            for symbol in coins
            for hour in of_day
            if hour in refused[symbol] and symbol in scans[hour]
        ]
        for anchor, (of_day, of_coins) in by_day.items():
            filled = of_coins
            if len(days[anchor]) > 1:  # else all end alike
                filled = filled_up(of_coins, {symbol: hours[-1] for symbol, hours in of_day.items()})
            tasks += [
                _Task({one: of_day[one] for one in some}, {one: filled[one] for one in some}, days[anchor][-1])
                for some in split(filled, least)
            ]
        return tasks

    def _task(
        self,
        task: _Task,
        timeframe: Timeframe,
        opened: OpenedByWarmUp,
        wanted: Callable[[str], tuple[ConfiguredStrategy, ...]],
        parts: Mapping[str, Sequence[_Part]],
        read: _Reader,
    ) -> list[Block]:
        def again(symbol: str, hour: int, wanted: Callable[[str], tuple[ConfiguredStrategy, ...]]) -> list[Block]:
            alone = _Task({symbol: [hour]}, {symbol: known_last(opened[symbol], [hour], hour)}, hour)
            return self._task(alone, timeframe, opened, wanted, parts, read)

        members: dict[tuple[ConfiguredStrategy, ...], list[str]] = {}
        last: dict[str, Mapping[int, StrategyData]] = {}
        blocks: list[Block] = []
        for symbol, hours in task.hours.items():
            data = task.last[symbol]
            if not isinstance(data, DataError):
                last[symbol] = data
                members.setdefault(wanted(symbol), []).append(symbol)
            elif len(hours) > 1:
                blocks += chain.from_iterable(again(symbol, hour, wanted) for hour in hours)
            else:
                blocks += [
                    self._block(timeframe, hours, (symbol,), [0], one, _all_failed(one, data), raised=False)
                    for one in wanted(symbol)
                ]
        for all_of_them, coins in members.items():
            strategies = [one for one in all_of_them if one.search is None]
            warm_ups = {one.name: {part.warm_up for part in parts[one.name]} for one in strategies}
            for bars in sorted({min(of_one) for of_one in warm_ups.values()}):
                together = [one for one in strategies if warm_ups[one.name] == {bars}]
                if not together:
                    continue
                by_symbol = {symbol: last[symbol][bars] for symbol in coins}
                for some in with_equal_times(by_symbol):
                    hours_of = {one: task.hours[one] for one in some}
                    try:
                        day = DayPanels(timeframe, hours_of, by_symbol, opened, bars, self._held_back, task.end_hour)
                        blocks += list(self._day_blocks(day, together, parts))
                    except DataError:  # of an hour, which has a row that says so; the others are not touched
                        only = {symbol: tuple(together) for symbol in some}
                        for symbol, hour in [(one, hour) for one, hours in hours_of.items() for hour in hours]:
                            blocks += again(symbol, hour, only.__getitem__)
            for one in strategies:
                if len(warm_ups[one.name]) > 1:
                    blocks += [
                        self._divided_block(hour, timeframe, symbol, opened[symbol], one, parts[one.name])
                        for symbol in coins
                        for hour in task.hours[symbol]
                    ]
            blocks += [
                self._searched_block(hour, timeframe, symbol, opened[symbol], one, read)
                for one in all_of_them
                if one.search is not None
                for symbol in coins
                for hour in task.hours[symbol]
            ]
        return blocks

    def _day_blocks(
        self, day: DayPanels, strategies: Sequence[ConfiguredStrategy], parts: Mapping[str, Sequence[_Part]]
    ) -> Iterator[Block]:
        bars = day.panel.bars_by_window.tolist()
        notional = self._settings.backtest_notional
        with shared_indicators():
            for strategy in strategies:
                costs = self._costs[strategy.name]
                outcomes = [
                    part.sweep.run_day(
                        day.panel.seeing(part.needs), day.hours, day.panel_of(part.needs), costs, notional
                    )
                    for part in parts[strategy.name]
                ]
                outcome = merged_sets(outcomes, [part.places for part in parts[strategy.name]])
                yield self._block(day.timeframe, day.hours, day.symbols, bars, strategy, outcome)

    def _divided_block(
        self,
        hour: int,
        timeframe: Timeframe,
        symbol: str,
        opened: Mapping[int, OpenedData],
        strategy: ConfiguredStrategy,
        parts: Sequence[_Part],
    ) -> Block:
        """One coin and hour of a strategy whose sets declare different warm-ups: each part on data of its own."""
        start_ms, since_ms = window_start_ms(hour, timeframe), first_decided_ms(hour, timeframe)
        try:
            data = [opened[part.warm_up](hour) for part in parts]
        except DataError as error:
            outcome = _all_failed(strategy, error)
            return self._block(timeframe, [hour], [symbol], [0], strategy, outcome, raised=False)
        panels = [Panel.from_members([one], start_ms, self._held_back, since_ms) for one in data]
        notional, costs = self._settings.backtest_notional, self._costs[strategy.name]
        with shared_indicators():
            outcomes = [
                part.sweep.run(panel.seeing(part.needs), costs, notional)
                for part, panel in zip(parts, panels, strict=True)
            ]
        merged = merged_sets(outcomes, [part.places for part in parts])
        return self._block(timeframe, [hour], [symbol], [panels[-1].bars], strategy, merged)

    def _searched_block(
        self,
        hour: int,
        timeframe: Timeframe,
        symbol: str,
        opened: Mapping[int, OpenedData],
        strategy: ConfiguredStrategy,
        read: _Reader,
    ) -> Block:
        """One coin and hour of a strategy that searches a space: the row of the best set that the hour found."""
        assert strategy.search is not None
        start_ms, since_ms = window_start_ms(hour, timeframe), first_decided_ms(hour, timeframe)
        notional, costs = self._settings.backtest_notional, self._costs[strategy.name]
        deepest, held = strategy.needs(), dict(opened)
        panels: dict[int, Panel] = {}

        def run(sets: Sequence[Strategy]) -> SweepResult:
            parts = self._parts(replace(strategy, sets=tuple(sets)), timeframe, keep=False)
            outcomes = []
            for part in parts:
                bars = part.warm_up
                if bars not in panels:
                    data_at = held.get(bars) or read(symbol, bars)
                    panels[bars] = Panel.from_members([data_at(hour)], start_ms, self._held_back, since_ms)
                with shared_indicators():
                    outcomes.append(part.sweep.run(panels[bars].seeing(part.needs), costs, notional))
            return merged_sets(outcomes, [part.places for part in parts])

        def may_try(one: Strategy) -> bool:
            return one.needs().within(deepest, timeframe)

        kind, given = type(strategy.sets[0]), json.loads(strategy.pinned)
        nothing: Exception
        try:
            found = search_window(kind, strategy.search, given, (hour, symbol), run, may_try=may_try)
            nothing = StrategyError(f"{strategy.name} allows no set of the space that it searches")
        except DataError as error:
            found, nothing = None, error
        if found is None:
            without = replace(strategy, sets=strategy.sets[:1])
            return self._block(timeframe, [hour], [symbol], [0], without, _all_failed(without, nothing), raised=False)
        bars = next(iter(panels.values())).bars
        return self._block(
            timeframe, [hour], [symbol], [bars], replace(strategy, sets=found.sets), found.outcome, searched=True
        )

    def _parts(self, strategy: ConfiguredStrategy, timeframe: Timeframe, *, keep: bool = True) -> list[_Part]:
        """The sets by the data that they declare: nearly always one part.

        Args:
            keep: whether they are tried again.
        """
        found: dict[tuple[object, ...], tuple[int, DataNeeds, list[int]]] = {}
        for place, one in enumerate(strategy.sets):
            needs = one.needs()
            bars = needs.warm_up_bars(timeframe)
            key = (bars, *sorted(needs.candles.items()), needs.funding, *sorted(needs.btc.items()))
            found.setdefault(key, (bars, needs, []))[2].append(place)
        return [
            _Part(bars, needs, tuple(some), self._sweep(strategy, tuple(some), keep))
            for bars, needs, some in sorted(found.values(), key=lambda part: part[0])
        ]

    def _sweep(self, strategy: ConfiguredStrategy, places: tuple[int, ...], keep: bool) -> StrategySweep:
        if not keep:
            return StrategySweep([strategy.sets[place] for place in places])
        key = (strategy.name, places)
        if key not in self._sweeps:
            self._sweeps[key] = StrategySweep([strategy.sets[place] for place in places])
        return self._sweeps[key]

    def _block(
        self,
        timeframe: Timeframe,
        hours: Sequence[int],
        symbols: Sequence[str],
        bars: Sequence[int],
        strategy: ConfiguredStrategy,
        outcome: SweepResult,
        *,
        raised: bool = True,
        searched: bool = False,
    ) -> Block:
        """See `rows_of`.

        Args:
            raised: whether it is the strategy that failed, where one did, and not its data.
        """
        costs = self._costs[strategy.name]
        block, failed = rows_of(timeframe, hours, symbols, bars, strategy, outcome, costs, searched=searched)
        if raised:
            for window, index in failed.items():
                self._note(hours[window], symbols[window], strategy, index, outcome.failures[window, index])
        return block

    def _note(self, hour_ms: int, symbol: str, strategy: ConfiguredStrategy, index: int, error: Exception) -> None:
        found = _Raised((-hour_ms, symbol, index), strategy.sets[index], error)
        with self._lock:
            held = self._raised.get(strategy.name)
            if held is None or found.order < held.order:
                self._raised[strategy.name] = found


def configurations(rows: pd.DataFrame) -> int:
    """How many backtests stand behind rows of `backtest_results`: every parameter set tried, kept or not."""
    groups = rows.drop_duplicates(["hour_ms", "timeframe", "symbol", "strategy"])
    return int(groups["configurations"].sum())


def _refuse(error: DataError) -> OpenedData:
    def data_at(_hour_ms: int) -> StrategyData:
        raise error

    return OpenedData(data_at)


def _all_failed(strategy: ConfiguredStrategy, error: Exception) -> SweepResult:
    """The outcome of one coin of which every set failed."""
    sets = len(strategy.sets)
    starts = np.zeros((1, sets), dtype=np.int64)
    return SweepResult(
        no_figures(sets)[None], np.empty(0), np.empty(0), starts, {(0, index): error for index in range(sets)}
    )
