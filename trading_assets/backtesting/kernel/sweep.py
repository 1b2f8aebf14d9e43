"""Every parameter set of one strategy on a panel of coins: indicators once, figures of all sets at once.

What is read of the store and what becomes of the figures is the caller's business.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import astuple, dataclass
from inspect import getattr_static
from typing import Any
from zlib import crc32

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, risked
from trading_assets.backtesting.kernel.entry_rules import CompiledRule, compile_rule
from trading_assets.backtesting.kernel.kernel_engine import (
    LIMIT_RECORD_FIELDS,
    RECORD_FIELDS,
    KernelEngine,
    bar_numbers,
    plan_arrays,
)
from trading_assets.backtesting.kernel.panel import Panel, Rows, Window
from trading_assets.backtesting.kernel.sweep_result import FIGURES, SweepResult, joined, no_figures, ordered
from trading_assets.backtesting.liquidity import slippage_by_bar
from trading_assets.backtesting.metrics import metrics
from trading_assets.core.candles import Candles, FloatArray, IntArray
from trading_assets.core.errors import DataError
from trading_assets.core.exits import ExitPlan
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies import indicators
from trading_assets.strategies.base import CANDLE_VALUES, Parameters, Strategy, Values
from trading_assets.strategies.indicator_cache import sharing

_log = get_logger(__name__)

MIN_BARS = 50
"""A window with fewer bars (a young listing) has no trades: indicators and metrics would say nothing."""

_FEW_BARS = 8
"""So many bars tell whether a rule has exit conditions."""

RECHECK_EVERY = 32
"""After the first panel, one coin of every so many panels is computed alone again; so is one hour of so many days."""

COINS_ALONE = 8
"""So many coins of the first panel are computed alone: the first, the last, and others far apart."""

PanelOfHour = Callable[..., Panel]
"""Called with an hour, UTC ms, and perhaps with a number: see `StrategySweep.run_day`."""

_verified_rules: set[CompiledRule] = set()
"""Compiled rules that this process has compared with the arrays' decisions."""


@dataclass(frozen=True)
class _Plan:
    """What the sets share, as found on one symbol's data.

    Attributes:
        makers: strategies whose `indicators` give all that any set needs; they record the parameters they read.
        reads: the names each of them read.
        rule: the compiled rule.
        decision_maker, parameters: of each decision its maker and the numbers of `p`.
        sets, stops, periods: see `kernel.entry_rules`; `periods` are those of the ATR.
        exits: the plan of each stop; None where nothing but stop and target ends a trade.
    """

    makers: tuple[tuple[Strategy, _ParameterRecorder], ...]
    reads: tuple[frozenset[str], ...]
    rule: CompiledRule
    decision_maker: tuple[int, ...]
    parameters: FloatArray
    sets: IntArray
    stops: FloatArray
    periods: tuple[int, ...]
    exits: tuple[ExitPlan, ...] | None


@dataclass(frozen=True)
class _Inputs:
    """What decisions are made of on a panel.

    Attributes:
        arrays: indicators and candle columns, each once, shapes (coins, n) or (n,); n are all bars of the data.
        columns: of each maker, where those that the rule reads are among them.
        distances: the ATR of each of the plan's periods.
    """

    plan: _Plan
    arrays: Sequence[FloatArray]
    columns: Sequence[Sequence[int]]
    distances: Sequence[FloatArray]


class _ParameterRecorder:
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


class _ScratchArrays(threading.local):
    """Scratch arrays of each thread: fresh memory costs more than the sweep of a short window."""

    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        """An array of any content. It is this thread's until it takes the same name again."""
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or len(held) < size:
            held = self._held[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)


_scratch = _ScratchArrays()


def shared_indicators() -> AbstractContextManager[None]:
    """Sweeps in this block that ask for the same indicator of the same data get one array."""
    from trading_assets.backtesting.kernel.indicators import COMPILED_INDICATORS  # noqa: PLC0415 (numba)

    return sharing(COMPILED_INDICATORS)


class StrategySweep:
    """All parameter sets of one strategy. One object may be used by several threads, one panel each.

    Where the rule can be compiled, indicators are computed once for all sets that would compute the same: which
    parameters `indicators` reads is recorded while it runs, and sets that agree on those share its arrays. Indicators
    of a panel act along the last axis of (coins, n); one that does not is found out, and its coins are computed one by
    one.
    """

    def __init__(self, sets: Sequence[Strategy]) -> None:
        self.sets = tuple(sets)
        self._plan: _Plan | None = None
        self.compiles = True
        self.panels = True
        self.days = True
        self._seen_panels = 0
        self._seen_days = 0

    def run_day(
        self, day: Panel, hours_ms: Sequence[int], of_hour: PanelOfHour, costs: Costs, capital: float
    ) -> SweepResult:
        """Figures over the windows of several hours of a day, equal to those of each hour alone.

        Indicators and decisions are computed once, on data that reach to the last hour or farther, where those of every
        bar are the same whatever follows it. Whether they are is looked at in each panel: those of one coin are
        computed again on what is known in its first hour and in one other (in all of them at first), and must be the
        same to the last bit. A strategy that differs, fails, or cannot be compiled is computed hour by hour.

        Args:
            hours_ms: the hour of each window, UTC ms.
            of_hour: gives the panel of an hour: the same coins, in their order, as far as they have a window then; of
                one of them alone where a second number says which, counted round and round.
        """
        if len(set(hours_ms)) == 1:
            return self.run(day, costs, capital)
        outcome = self._shared(day, hours_ms, of_hour, costs, capital)
        if outcome is not None:
            return outcome
        of_window = np.array(hours_ms)
        hours = sorted(set(hours_ms))
        order = np.argsort(np.concatenate([np.flatnonzero(of_window == hour) for hour in hours]))
        return ordered(joined([self.run(of_hour(hour), costs, capital) for hour in hours]), order)

    def _shared(
        self, day: Panel, hours_ms: Sequence[int], of_hour: PanelOfHour, costs: Costs, capital: float
    ) -> SweepResult | None:
        """The outcome of a day's windows from one computation; None where they have to be computed hour by hour."""
        if not (self.days and self.compiles and self.panels) or int(day.bars_by_window.min()) < MIN_BARS:
            return None
        hours = sorted(set(hours_ms))
        turn, self._seen_days = self._seen_days, self._seen_days + 1
        alone = hours[turn // RECHECK_EVERY % len(hours)] if turn % RECHECK_EVERY == 0 else None
        expected = None if alone is None else self.run(of_hour(alone), costs, capital)
        plan = self._plan
        if plan is None or plan.rule not in _verified_rules or not (self.compiles and self.panels):
            self._seen_days = turn  # a first panel in which nothing trades tells nothing
            return None
        # The same for all strategies of a panel, so that they share what is read and computed again.
        chosen = crc32(f"{hours} {[member.symbol for member in day.members]}".encode())
        looked_at = hours if turn == 0 else {hours[0], hours[chosen % len(hours)]}
        try:
            with shared_indicators():
                inputs = self._inputs(day, waits=costs.entry is not None)
                if inputs is None:
                    return None
                for hour in looked_at:
                    panel = of_hour(hour, chosen // len(hours))
                    then = self._inputs(panel, waits=inputs.plan.rule.waits)
                    if then is None or then.plan is not inputs.plan:
                        return None
                    if not _known_then(inputs, day, then, panel):
                        self._refuse_days()
                        return None
                outcome = self._compiled(day, costs, capital, inputs)
        except DataError:
            raise
        except Exception:  # noqa: BLE001 (hour by hour, the error comes again and belongs to its hour and set)
            _log.debug("%s fails on a day", self.name, exc_info=True)
            return None
        if expected is None or outcome is None:
            return outcome
        windows = np.flatnonzero(np.array(hours_ms) == alone)
        same = not expected.failures and np.array_equal(outcome.figures[windows], expected.figures)
        if not same:
            self._refuse_days()
        return outcome if same else None

    def _refuse_days(self) -> None:
        _log.warning(
            "%s decides something else once later candles are known (does it look ahead?): its hours are computed one "
            "by one",
            self.name,
        )
        self.days = False

    def run(self, panel: Panel, costs: Costs, capital: float) -> SweepResult:
        """Figures over the panel's windows. A set that fails has its error in the outcome; it never touches others."""
        if panel.bars < MIN_BARS or not self.compiles or (len(panel) > 1 and not self.panels):
            return self._coin_by_coin(panel, costs, capital)
        outcome = self._attempt(panel, costs, capital)
        if outcome is None or (len(panel) > 1 and not self._equal_to_coin_alone(outcome, panel, costs, capital)):
            return self._coin_by_coin(panel, costs, capital)
        return outcome

    @property
    def name(self) -> str:
        return self.sets[0].name

    def _attempt(self, panel: Panel, costs: Costs, capital: float) -> SweepResult | None:
        """The compiled sweep, or None where coins or sets have to be computed one by one."""
        from numba.core.errors import NumbaError

        try:
            with shared_indicators():
                outcome = self._compiled(panel, costs, capital)
        except NumbaError as error:
            self.compiles = False
            reason = next(iter(str(error).splitlines()), "")
            _log.info("the entries of %s cannot be compiled, so its sets are tried one by one: %s", self.name, reason)
            return None
        except Exception:  # noqa: BLE001 (coin by coin and set by set, the error comes again and belongs to its set)
            _log.debug("%s fails on %d coins", self.name, len(panel), exc_info=True)
            return None
        return outcome if outcome is None or self._verified(outcome, panel, costs, capital) else None

    def _coin_by_coin(self, panel: Panel, costs: Costs, capital: float) -> SweepResult:
        """Each coin alone: compiled where that is possible, else each set's decisions from `Strategy.signals`."""
        found = []
        for coin in range(len(panel)):
            outcome = None
            if self.compiles and panel.bars >= MIN_BARS:
                outcome = self._attempt(panel.alone(coin), costs, capital)
            if outcome is None:
                with shared_indicators():
                    outcome = self._one_by_one(panel.members[coin], panel.window(coin), costs, capital)
            found.append(outcome)
        return joined(found)

    def _equal_to_coin_alone(self, outcome: SweepResult, panel: Panel, costs: Costs, capital: float) -> bool:
        """Whether coins have in the panel what they have alone: one now and then, and of the first panel some alone and
        the others in halves of it."""
        turn, self._seen_panels = self._seen_panels, self._seen_panels + 1
        coins, parts = range(len(panel)), list[Sequence[int]]()
        if turn == 0:
            few = np.unique(np.linspace(0, len(panel) - 1, COINS_ALONE).astype(np.int64))
            parts = [[coin] for coin in few.tolist()]
            parts += [coins[::2], coins[1::2]] if len(parts) < len(panel) else []
        elif turn % RECHECK_EVERY == 0:
            parts = [[turn // RECHECK_EVERY % len(panel)]]
        for part in parts:
            found = self._attempt(panel.alone(*part), costs, capital)
            if found is None or not np.array_equal(found.figures, outcome.figures[list(part)]):
                _log.warning(
                    "%s computes something else for several coins than for one (do its indicators act along the last "
                    "axis?): its coins are computed one by one",
                    self.name,
                )
                self.panels = False
                return False
        return True

    def _one_by_one(self, data: StrategyData, window: Window, costs: Costs, capital: float) -> SweepResult:
        """The array path: each set's decisions from `Strategy.signals`, its trades one by one."""
        figures = no_figures(len(self.sets))
        failures: dict[tuple[int, int], Exception] = {}
        gains: list[FloatArray] = []
        risks: list[FloatArray] = []
        starts = np.zeros((1, len(self.sets)), dtype=np.int64)
        for index, strategy in enumerate(self.sets):
            starts[0, index] = sum(map(len, gains))
            try:
                column = column_from(strategy, data, window)
                (trades,) = KernelEngine().simulate([column], costs)
            except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
                failures[0, index] = error
                continue
            figures[index] = astuple(metrics(trades, window.candles, capital, window.split))
            gains.append(trades.pnl[trades.closed])
            risks.append(risked(column, trades, costs)[trades.closed])
        empty = np.empty(0)
        return SweepResult(
            figures[None], np.concatenate([empty, *gains]), np.concatenate([empty, *risks]), starts, failures
        )

    def _verified(self, outcome: SweepResult, panel: Panel, costs: Costs, capital: float) -> bool:
        """Whether the compiled rule is the rule: held against the arrays on the first coin that trades."""
        plan, traded = self._plan, outcome.figures[:, :, 0].any(axis=1)
        if plan is None or plan.rule in _verified_rules or not traded.any():
            return True
        coin = int(np.argmax(traded))
        with shared_indicators():
            slow = self._one_by_one(panel.members[coin], panel.window(coin), costs, capital)
        if slow.failures or not np.allclose(outcome.figures[coin], slow.figures[0], rtol=1e-9, atol=1e-9):
            _log.warning("the entries of %s mean something else for one bar than for arrays: not compiled", self.name)
            self.compiles = False
            return False
        _verified_rules.add(plan.rule)
        return True

    def _inputs(self, panel: Panel, *, waits: bool) -> _Inputs | None:
        """What decisions are made of on a panel, or None where the rule cannot be compiled."""
        data = panel.data
        plan = self._plan
        if plan is None or plan.rule.waits != waits:
            plan = self._make_plan(data, waits=waits)
        if plan is None:
            self.compiles = False
            _log.info("the entries of %s are no function of numbers, so its sets are tried one by one", self.name)
            return None
        values_of = [maker.checked_indicators(data) for maker, _ in plan.makers]
        if any(len(recorder.seen) > len(read) for (_, recorder), read in zip(plan.makers, plan.reads, strict=True)):
            # On these data the indicators read more parameters than before: fewer sets share them.
            also_read = frozenset[str]().union(*(recorder.seen for _, recorder in plan.makers))
            plan = self._make_plan(data, also_read, waits=waits)
            if plan is None:
                return None
            values_of = [maker.checked_indicators(data) for maker, _ in plan.makers]
        self._plan = plan
        candles = data.candles
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
        distances = [indicators.atr(candles.high, candles.low, candles.close, period) for period in plan.periods]
        return _Inputs(plan, arrays, columns_of, distances)

    def _compiled(
        self, panel: Panel, costs: Costs, capital: float, inputs: _Inputs | None = None
    ) -> SweepResult | None:
        """Figures of every set, or None where a set is not sound or cannot be compiled."""
        inputs = inputs or self._inputs(panel, waits=costs.entry is not None)
        if inputs is None:
            return None
        plan = inputs.plan
        candles, first, coins, sets = panel.data.candles, panel.first, len(panel), len(self.sets)
        bars, take = panel.bars, _scratch.take
        shape = coins, len(candles)
        values, distances = Rows(inputs.arrays, shape), Rows(inputs.distances, shape)
        windows = len(panel.windows)
        figures = np.empty((windows, sets, FIGURES))
        starts, sound = np.empty((windows, sets), dtype=np.int64), np.empty(coins, dtype=np.bool_)
        # Each trade has two bars of its own.
        most_trades = sets * int((panel.bars_by_window // 2 + 1).sum())
        gains, risks = take("gains", (most_trades,)), take("risks", (most_trades,))
        decisions = len(plan.parameters)
        used = plan.rule.sweep(
            values.places,
            np.array([inputs.columns[maker] for maker in plan.decision_maker]),
            plan.parameters,
            plan.sets,
            panel.prices.open,
            panel.prices.high,
            panel.prices.low,
            panel.prices.close,
            panel.prices.paid,
            panel.prices.payments_by,
            panel.windows,
            panel.max_prices,
            first,
            distances.places,
            plan.stops,
            (costs.fee, costs.slippage, costs.notional, capital, costs.liquidation, costs.stop_overshoot),
            np.atleast_2d(slippage_by_bar(candles, costs, first)),
            candles.timeframe.bars_per_year,
            take("directions", (decisions, bars), np.uint8),
            take("next_entries", (decisions, bars + 1), np.int32),
            take("exits", (2 * bars,), np.int32),
            take("records", (2 * bars + 1, RECORD_FIELDS if costs.entry is None else LIMIT_RECORD_FIELDS)),
            take("taken", (bars,), np.int32),
            gains,
            risks,
            starts,
            figures,
            sound,
            *self._exit_arguments(plan, candles, first, bars),
            *([] if costs.entry is None else [costs.entry.numbers]),
        )
        return SweepResult(figures, gains[:used].copy(), risks[:used].copy(), starts) if sound.all() else None

    @staticmethod
    def _exit_arguments(plan: _Plan, candles: Candles, first: int, bars: int) -> tuple[np.ndarray, ...]:
        if plan.exits is None:
            return ()
        numbers, roi, parts = plan_arrays(plan.exits)
        take = _scratch.take
        return (
            bar_numbers(candles, first),
            take("exit codes", (len(plan.parameters), bars if plan.rule.signals else 0), np.uint8),
            numbers,
            roi,
            parts,
            take("marks", (bars,)),
            take("part bars", (parts.shape[1],), np.int64),
            take("part prices", (parts.shape[1],)),
        )

    def _make_plan(self, data: StrategyData, also_read: frozenset[str] = frozenset(), *, waits: bool) -> _Plan | None:
        makers: list[tuple[Strategy, _ParameterRecorder]] = []
        made: list[Mapping[str, FloatArray]] = []
        maker_of: list[int] = []
        for strategy in self.sets:
            p = strategy.parameters
            found = next((i for i, (_, recorder) in enumerate(makers) if recorder.agrees(p)), None)
            if found is None:
                found = len(makers)
                recorder = _ParameterRecorder(p, also_read)
                maker = copy(strategy)
                maker.parameters = recorder  # type: ignore[assignment]
                made.append(maker.checked_indicators(data))
                makers.append((maker, recorder))
            maker_of.append(found)
        if len(set(map(frozenset, made))) != 1:
            return None
        kind = self.sets[0]
        if not isinstance(getattr_static(kind, "entries"), staticmethod):
            return None
        plans = [strategy.checked_exits() for strategy in self.sets]
        signals = any(
            _has_exits(strategy, data.candles, made[of]) for strategy, of in zip(self.sets, maker_of, strict=True)
        )
        with_exits = signals or waits or any(plans)
        rule = compile_rule(
            kind.entries, kind.Parameters, frozenset(made[0]), exits=with_exits, signals=signals, waits=waits
        )
        if rule is None:
            return None
        decisions: dict[tuple[int, tuple[float, ...]], int] = {}
        stops: dict[tuple[float, float, int, ExitPlan, int], int] = {}
        periods: dict[int, int] = {}
        sets = []
        for index, (strategy, made_by) in enumerate(zip(self.sets, maker_of, strict=True)):
            p = strategy.parameters
            numbers = tuple(float(getattr(p, name)) for name in rule.parameters)
            decision = decisions.setdefault((made_by, numbers), len(decisions))
            period = periods.setdefault(p.atr_period, len(periods))
            # Where signals end trades, those of one decision are not those of another.
            key = (p.stop_atr, p.reward_risk, period, plans[index], decision if signals else 0)
            sets.append((index, decision, stops.setdefault(key, len(stops))))
        return _Plan(
            makers=tuple(makers),
            reads=tuple(frozenset(recorder.seen) for _, recorder in makers),
            rule=rule,
            decision_maker=tuple(maker for maker, _ in decisions),
            parameters=np.array([numbers for _, numbers in decisions], dtype=np.float64).reshape(
                len(decisions), len(rule.parameters)
            ),
            sets=np.array(sorted(sets, key=lambda one: one[2]), dtype=np.int64),
            stops=np.array([key[:3] for key in stops], dtype=np.float64),
            periods=tuple(periods),
            exits=tuple(key[3] for key in stops) if with_exits else None,
        )


def _known_then(inputs: _Inputs, day: Panel, then: _Inputs, hour: Panel) -> bool:
    """Whether all that decisions are made of in an hour is the same on the data of its day."""
    place = {member.symbol: place for place, member in enumerate(day.members)}
    places = [place[member.symbol] for member in hour.members]
    begin = int(np.searchsorted(day.data.candles.start_ms, hour.data.candles.start_ms[hour.first]))
    bars = slice(begin, begin + hour.bars)

    def equal(whole: FloatArray, cut: FloatArray) -> bool:
        rows = np.atleast_2d(whole)
        some = rows if len(rows) == 1 else rows[places]
        return np.array_equal(some[:, bars], np.atleast_2d(cut)[:, hour.first :], equal_nan=True)

    pairs = [(inputs.arrays, then.arrays), (inputs.distances, then.distances)]
    return inputs.columns == then.columns and all(
        len(whole) == len(cut) and all(map(equal, whole, cut)) for whole, cut in pairs
    )


def _has_exits(strategy: Strategy, candles: Candles, indicators: Mapping[str, FloatArray]) -> bool:
    """Whether a strategy's `entries` give exit conditions: asked on a few bars."""
    few = {name: values[..., :_FEW_BARS] for name, values in indicators.items()}
    values = Values(candles, few | {name: getattr(candles, name)[..., :_FEW_BARS] for name in CANDLE_VALUES})
    return strategy.entries(values, strategy.parameters).has_exits


def column_from(strategy: Strategy, data: StrategyData, window: Window) -> Column:
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
        max_price=data.max_price,
        exit_long=None if signals.exit_long is None else signals.exit_long[first:],
        exit_short=None if signals.exit_short is None else signals.exit_short[first:],
        exits=signals.exits,
    )
