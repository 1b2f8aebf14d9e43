"""Every parameter set of one strategy on one symbol and timeframe: indicators once, figures of all sets at once.

What is read of the store and what becomes of the figures is the caller's business.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import astuple, dataclass, field
from inspect import getattr_static
from typing import Any

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades
from trading_assets.backtesting.kernel.engine import LINE, KernelEngine, market_of
from trading_assets.backtesting.kernel.rules import CompiledRule, compile_rule
from trading_assets.backtesting.metrics import NO_TRADES, metrics, split_bar
from trading_assets.market.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.strategies import indicators
from trading_assets.strategies.base import CANDLE_VALUES, Parameters, Strategy, StrategyData
from trading_assets.strategies.sharing import sharing

_log = logging.getLogger(__name__)

FIGURES = len(astuple(NO_TRADES))

MIN_BARS = 50
"""A window with fewer bars (a young listing) has no trades: indicators and metrics would say nothing."""

_ROOMS = 32

_held_against_arrays: set[CompiledRule] = set()
"""Compiled rules that this process has compared with the arrays' decisions."""


@dataclass(frozen=True)
class Window:
    """The bars that count: the last ones of a symbol's data, with what the compiled loops read of them.

    `first` is the first of them in the data, `split` the first of them that is out of sample.
    """

    candles: Candles
    funding: Funding
    first: int
    split: int
    market: FloatArray

    @classmethod
    def of(cls, data: StrategyData, start_ms: int, out_of_sample_pct: float = 0.0) -> Window:
        """The bars of `data` that start at `start_ms` or later, the newest percent of them out of sample."""
        first = int(np.searchsorted(data.candles.start_ms, start_ms))
        candles = data.candles.select(slice(first, None))
        split = split_bar(len(candles), out_of_sample_pct)
        return cls(candles, data.funding, first, split, market_of(candles, data.funding))


@dataclass(frozen=True)
class Outcome:
    """Figures of each parameter set (the fields of `Metrics`), shape (sets, FIGURES); `NO_TRADES` where one failed."""

    figures: FloatArray
    failures: Mapping[int, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """What the sets share, as found on one symbol's data.

    Attributes:
        makers: strategies whose `indicators` give all that any set needs; they record the parameters they read.
        reads: the names each of them read.
        rule: the compiled rule.
        decision_maker, parameters: of each decision its maker and the numbers of `p`.
        sets, stops, periods: see `kernel.rules`; `periods` are those of the ATR.
    """

    makers: tuple[tuple[Strategy, _Recorder], ...]
    reads: tuple[frozenset[str], ...]
    rule: CompiledRule
    decision_maker: tuple[int, ...]
    parameters: FloatArray
    sets: IntArray
    stops: FloatArray
    periods: tuple[int, ...]


class _Recorder:
    """Parameters that remember which of them were ever read."""

    def __init__(self, parameters: Parameters, seen: frozenset[str]) -> None:
        self._parameters = parameters
        self.seen = set(seen)

    def agrees(self, other: Parameters) -> bool:
        """Whether all that was read is the same in another set."""
        return all(getattr(other, name) == getattr(self._parameters, name) for name in self.seen)

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(self._parameters, name)


@dataclass(frozen=True)
class _Room:
    """Arrays to work in; see `kernel.rules` for their meaning."""

    values: FloatArray
    distances: FloatArray
    directions: np.ndarray
    following: np.ndarray
    exits: np.ndarray
    lines: FloatArray
    taken: np.ndarray

    @classmethod
    def of(cls, bars: int, rows: int, decisions: int, periods: int) -> _Room:
        return cls(
            np.empty((rows, bars)),
            np.empty((periods, bars)),
            np.empty((decisions, bars), dtype=np.uint8),
            np.empty((decisions, bars + 1), dtype=np.int32),
            np.empty((2, bars), dtype=np.int32),
            np.empty((2, bars, LINE)),
            np.empty(bars, dtype=np.int32),
        )


class _Rooms(threading.local):
    """Each thread keeps its rooms: fresh memory costs more than the sweep of a short window."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, ...], _Room] = {}

    def take(self, *sizes: int) -> _Room:
        room = self._held.get(sizes)
        if room is None:
            if len(self._held) >= _ROOMS:
                self._held.clear()
            room = self._held[sizes] = _Room.of(*sizes)
        return room


_rooms = _Rooms()


def shared_indicators() -> AbstractContextManager[None]:
    """Sweeps in this block that ask for the same indicator of the same data get one array."""
    from trading_assets.backtesting.kernel.indicators import TWINS  # noqa: PLC0415 (numba)

    return sharing(TWINS)


class StrategySweep:
    """All parameter sets of one strategy. One object may be used by several threads, one symbol each.

    Where the rule can be compiled, indicators are computed once for all sets that would compute the same: which
    parameters `indicators` reads is recorded while it runs, and sets that agree on those share its arrays.
    """

    def __init__(self, sets: Sequence[Strategy]) -> None:
        self.sets = tuple(sets)
        self._plan: _Plan | None = None
        self.compiles = True

    def run(self, data: StrategyData, window: Window, costs: Costs, capital: float) -> Outcome:
        """Figures over the window. A set that fails has its error in the outcome; it never touches the others."""
        from numba.core.errors import NumbaError

        if self.compiles and len(window.candles) >= MIN_BARS:
            figures = None
            try:
                with shared_indicators():
                    figures = self._compiled(data, window, costs, capital)
            except NumbaError as error:
                self.compiles = False
                _log.info(
                    "the entries of %s cannot be compiled, so its sets are tried one by one: %s", self.name, error
                )
            except Exception:  # noqa: BLE001 (set by set, the error comes again and belongs to its set)
                _log.debug("%s fails on %s", self.name, data.symbol, exc_info=True)
            if figures is not None and self._trusted(figures, data, window, costs, capital):
                return Outcome(figures)
        with shared_indicators():
            return self._one_by_one(data, window, costs, capital)

    def trades(self, index: int, data: StrategyData, window: Window, costs: Costs) -> Trades:
        """Trades of one set, on demand. Raises whatever the strategy raises."""
        with shared_indicators():
            column = column_of(self.sets[index], data, window)
        (trades,) = KernelEngine().simulate([column], costs)
        return trades

    @property
    def name(self) -> str:
        return self.sets[0].name

    def _one_by_one(self, data: StrategyData, window: Window, costs: Costs, capital: float) -> Outcome:
        """The array path: each set's decisions from `Strategy.signals`, its trades one by one."""
        figures = no_figures(len(self.sets))
        failures: dict[int, Exception] = {}
        for index, strategy in enumerate(self.sets):
            try:
                (trades,) = KernelEngine().simulate([column_of(strategy, data, window)], costs)
            except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
                failures[index] = error
                continue
            figures[index] = astuple(metrics(trades, window.candles, capital, window.split))
        return Outcome(figures, failures)

    def _trusted(self, figures: FloatArray, data: StrategyData, window: Window, costs: Costs, capital: float) -> bool:
        """Whether the compiled rule is the rule: held against the arrays on the first symbol that trades."""
        plan = self._plan
        if plan is None or plan.rule in _held_against_arrays or not figures[:, 0].any():
            return True
        slow = self._one_by_one(data, window, costs, capital)
        if slow.failures or not np.allclose(figures, slow.figures, rtol=1e-9, atol=1e-9):
            _log.warning("the entries of %s mean something else for one bar than for arrays: not compiled", self.name)
            self.compiles = False
            return False
        _held_against_arrays.add(plan.rule)
        return True

    def _compiled(self, data: StrategyData, window: Window, costs: Costs, capital: float) -> FloatArray | None:
        """Figures of every set, or None where a set is not sound or cannot be compiled."""
        plan = self._plan or self._make_plan(data)
        if plan is None:
            self.compiles = False
            _log.info("the entries of %s are no function of numbers, so its sets are tried one by one", self.name)
            return None
        values_of = [maker.checked_indicators(data) for maker, _ in plan.makers]
        if any(len(recorder.seen) > len(read) for (_, recorder), read in zip(plan.makers, plan.reads, strict=True)):
            # On these data the indicators read more parameters than before: fewer sets share them.
            plan = self._make_plan(data, frozenset().union(*(recorder.seen for _, recorder in plan.makers)))
            if plan is None:
                return None
            values_of = [maker.checked_indicators(data) for maker, _ in plan.makers]
        self._plan = plan
        candles, first, bars = data.candles, window.first, len(window.candles)
        rows: dict[int, int] = {}
        arrays: list[FloatArray] = []
        columns_of = []
        for values in values_of:
            columns = []
            for name in plan.rule.values:
                array = getattr(candles, name) if name in CANDLE_VALUES else values[name]
                row = rows.setdefault(id(array), len(arrays))
                if row == len(arrays):
                    arrays.append(array)
                columns.append(row)
            columns_of.append(columns)
        room = _rooms.take(bars, len(arrays), len(plan.parameters), len(plan.periods))
        for row, array in enumerate(arrays):
            room.values[row] = array[first:]
        for row, period in enumerate(plan.periods):
            room.distances[row] = indicators.atr(candles.high, candles.low, candles.close, period)[first:]
        figures = np.empty((len(self.sets), FIGURES))
        unsound = plan.rule.sweep(
            room.values,
            np.array([columns_of[maker] for maker in plan.decision_maker]),
            plan.parameters,
            plan.sets,
            window.market,
            room.distances,
            plan.stops,
            (costs.fee, costs.slippage, costs.notional, capital),
            candles.timeframe.bars_per_year,
            window.split,
            room.directions,
            room.following,
            room.exits,
            room.lines,
            room.taken,
            figures,
        )
        return None if unsound else figures

    def _make_plan(self, data: StrategyData, also_read: frozenset[str] = frozenset()) -> _Plan | None:
        makers: list[tuple[Strategy, _Recorder]] = []
        names: set[frozenset[str]] = set()
        maker_of: list[int] = []
        for strategy in self.sets:
            p = strategy.parameters
            found = next((i for i, (_, recorder) in enumerate(makers) if recorder.agrees(p)), None)
            if found is None:
                found = len(makers)
                recorder = _Recorder(p, also_read)
                maker = copy(strategy)
                maker.parameters = recorder  # type: ignore[assignment]
                names.add(frozenset(maker.checked_indicators(data)))
                makers.append((maker, recorder))
            maker_of.append(found)
        if len(names) != 1:
            return None
        kind = self.sets[0]
        if not isinstance(getattr_static(kind, "entries"), staticmethod):
            return None
        rule = compile_rule(kind.entries, kind.Parameters, names.pop())
        if rule is None:
            return None
        decisions: dict[tuple[int, tuple[float, ...]], int] = {}
        stops: dict[tuple[float, float, int], int] = {}
        periods: dict[int, int] = {}
        sets = []
        for index, (strategy, made_by) in enumerate(zip(self.sets, maker_of, strict=True)):
            p = strategy.parameters
            numbers = tuple(float(getattr(p, name)) for name in rule.parameters)
            decision = decisions.setdefault((made_by, numbers), len(decisions))
            period = periods.setdefault(p.atr_period, len(periods))
            sets.append((index, decision, stops.setdefault((p.stop_atr, p.reward_risk, period), len(stops))))
        return _Plan(
            makers=tuple(makers),
            reads=tuple(frozenset(recorder.seen) for _, recorder in makers),
            rule=rule,
            decision_maker=tuple(maker for maker, _ in decisions),
            parameters=np.array([numbers for _, numbers in decisions], dtype=np.float64).reshape(
                len(decisions), len(rule.parameters)
            ),
            sets=np.array(sorted(sets, key=lambda one: one[2]), dtype=np.int64),
            stops=np.array(list(stops), dtype=np.float64),
            periods=tuple(periods),
        )


def no_figures(sets: int) -> FloatArray:
    """Figures of sets without trades, shape (sets, FIGURES)."""
    return np.tile(np.array(astuple(NO_TRADES), dtype=np.float64), (sets, 1))


def column_of(strategy: Strategy, data: StrategyData, window: Window) -> Column:
    """The window's part of a strategy's decisions, for any engine.

    Raises:
        Exception: whatever the strategy raises.
    """
    signals = strategy.signals(data)
    first, candles = window.first, window.candles
    enough = len(candles) >= MIN_BARS
    return Column(
        candles=candles,
        long=signals.long[first:] & enough,
        short=signals.short[first:] & enough,
        stop_fraction=signals.stop_distance[first:] / candles.close,
        reward_risk=signals.reward_risk,
        confidence=signals.confidence[first:],
        funding=data.funding,
    )
