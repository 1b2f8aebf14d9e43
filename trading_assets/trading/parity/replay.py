"""What the backtest does on closed candles: the entries of a selection, how a trade from there ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Engine, Trades
from trading_assets.core.candles import BoolArray, Candles, Funding, IntArray
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger.exit_decisions import DONE, LEVELS, ExitDecision
from trading_assets.strategies.base import Strategy
from trading_assets.trading.decide.exits import Position, bars_of, on_tick
from trading_assets.trading.decide.sizing import stops

STOP, TARGET, OPEN, DROPPED = "stop", "target", "open", "not filled"


@dataclass(frozen=True)
class Decision:
    """An entry of the backtest at the close of a bar, as live would have sent it.

    Attributes:
        price: that close.
        stop_fraction: distance of the stop as a fraction of the price.
        stop_loss, take_profit: on the tick.
    """

    close_ms: int
    long: bool
    price: float
    stop_fraction: float
    reward_risk: float
    stop_loss: float
    take_profit: float


@dataclass(frozen=True)
class Exit:
    """How a trade ends.

    Attributes:
        reason: in the words of `core.exits.ExitReason`; not filled.
        start_ms, end_ms: of the bar in which it ends; of the last bar where it is open, or where its entry waited.
        price: with slippage; the last close where it is open.
        both: the bar touches stop and target, so the order of the two is not known from it.
        fill_price: where its entry waited, the price of the fill.
        filled_ms: and the end of the bar of the fill.
        parts: how many parts of the quantity left before, at their own targets.
    """

    reason: str
    start_ms: int
    end_ms: int
    price: float
    both: bool
    fill_price: float | None = None
    filled_ms: int | None = None
    parts: int = 0


@dataclass(frozen=True)
class Leaving:
    """What ends a position besides stop and target: its plan, and the closes (UTC ms) at which the exit condition of
    its side holds; None where its strategy has none."""

    plan: ExitPlan
    closes_ms: IntArray | None = None

    def left(self, candles: Candles) -> BoolArray:
        """Whether the condition holds at each close, shape (n,)."""
        if self.closes_ms is None:
            return np.zeros(len(candles), dtype=np.bool_)
        return np.isin(candles.end_ms, self.closes_ms)


def decisions(strategy: Strategy, data: StrategyData, closes_ms: set[int], *, tick: Decimal) -> Iterator[Decision]:
    """The strategy's entries at those of `closes_ms` that are closes of a bar of the data.

    Raises:
        Exception: whatever the strategy raises.
    """
    signals = strategy.signals(data)
    for bar in np.flatnonzero(signals.long | signals.short):
        close_ms = int(data.candles.end_ms[bar])
        if close_ms not in closes_ms:
            continue
        long, price = bool(signals.long[bar]), float(data.candles.close[bar])
        distance = float(signals.stop_distance[bar])
        levels = stops(
            Decimal(str(price)), Decimal(str(distance)), Decimal(str(signals.reward_risk)), long=long, tick=tick
        )
        if levels is not None:
            stop, target = map(float, levels)
            yield Decision(close_ms, long, price, distance / price, signals.reward_risk, stop, target)


def replay_exit(
    candles: Candles,
    close_ms: int,
    *,
    long: bool,
    stop_fraction: float,
    reward_risk: float,
    engine: Engine,
    costs: Costs,
    leaving: Leaving | None = None,
) -> Exit | None:
    """How the engine ends a trade that begins at the close of a bar, or waits from there on (`Costs.entry`); None where
    the candles lack that bar.

    Args:
        candles: up to the as-of.
    """
    entry = int(np.searchsorted(candles.end_ms, close_ms))
    if entry >= len(candles) or int(candles.end_ms[entry]) != close_ms:
        return None
    held = candles.select(slice(entry, None))
    left = leaving.left(held) if leaving is not None and leaving.closes_ms is not None else None
    column = Column.from_entry(
        held,
        close_ms,
        long=long,
        stop_fraction=stop_fraction,
        reward_risk=reward_risk,
        funding=Funding.empty(),
        exit_long=left,
        exit_short=left,
        exits=leaving.plan if leaving is not None else NO_PLAN,
    )
    [trades] = engine.simulate([column], costs)
    if not len(trades) and costs.entry is not None:
        waited = held.select(held.end_ms <= close_ms + costs.entry.bars * held.timeframe.ms)
        last = len(waited) - 1
        return Exit(
            DROPPED, int(waited.start_ms[last]), int(waited.end_ms[last]), float(waited.close[last]), both=False
        )
    if not len(trades):
        return None
    bar, price = int(trades.exit[0]), float(trades.exit_price[0])
    start_ms, end_ms = int(held.start_ms[bar]), int(held.end_ms[bar])
    fill_price, filled_ms = None, None
    if costs.entry is not None:
        fill_price, filled_ms = float(trades.entry_price[0]), int(held.end_ms[int(trades.entry[0])])
    if not bool(trades.closed[0]):
        return Exit(OPEN, start_ms, end_ms, price, False, fill_price, filled_ms)
    if column.has_exits:
        return replace(_planned_exit(column, long=long, trades=trades), fill_price=fill_price, filled_ms=filled_ms)
    close, sign = float(held.close[0]), 1 if long else -1
    stop = close * (1 - sign * stop_fraction)
    target = close * (1 + sign * stop_fraction * reward_risk)
    # By the bar, as the engine decides: a price with slippage may lie nearer to the other level.
    reason = STOP if _reaches(held, bar, stop, below=long) else TARGET
    both = _touches(held, bar, stop) and _touches(held, bar, target)
    return Exit(reason, start_ms, end_ms, price, both, fill_price, filled_ms)


def _planned_exit(column: Column, *, long: bool, trades: Trades) -> Exit:
    """The end of a trade that more than its stop and target may end."""
    held, bar, close = column.candles, int(trades.exit[0]), float(column.candles.close[0])
    distance = close * float(column.stop_fraction[0]) * (1 if long else -1)
    levels = (close, close - distance, close + distance * column.reward_risk)
    position = Position(column.exits, long, int(held.end_ms[0]), *levels, int(held.end_ms[int(trades.entry[0])]))
    leave = column.exit_long if long else column.exit_short
    left = leave if leave is not None else np.zeros(len(held), dtype=np.bool_)
    during = next((one.during for one in bars_of(position, held, left) if one.at == bar), None)
    both = during is not None and all(_touches(held, bar, level) for level in during)
    reason = ExitReason(int(trades.reason[0])).word if trades.reason is not None else OPEN
    parts = len(trades.parts.trade) if trades.parts is not None else 0
    price = float(trades.exit_price[0])
    return Exit(reason, int(held.start_ms[bar]), int(held.end_ms[bar]), price, both, parts=parts)


def plan_decisions(
    candles: Candles, position: Position, leaving: Leaving, *, tick: Decimal, link: str = ""
) -> list[ExitDecision]:
    """What the plan of a position says at each close, as live would have it in its ledger.

    Args:
        candles: up to the as-of.
        position: with the levels of live's signal.
    """
    stop, target = Decimal(str(position.stop)), Decimal(str(position.target))
    found = []
    for one in bars_of(position, candles, leaving.left(candles)):
        close_ms, close = int(candles.end_ms[one.at]), float(candles.close[one.at])
        levels = (stop, target)
        if one.after.reason is not ExitReason.OPEN:
            found.append(ExitDecision(link, close_ms, one.after.reason.word, close, *levels, "", DONE, close_ms))
            break
        stop, target = on_tick(one.after.standing, stop, target, long=position.long, tick=tick)
        if (stop, target) != levels:
            found.append(ExitDecision(link, close_ms, LEVELS, close, stop, target, "", DONE, close_ms))
    return found


def end_by_decisions(candles: Candles, position: Position, decided: Sequence[ExitDecision]) -> Exit:
    """How a position ends on the candles with the levels as they were decided, each from its candle's close on."""
    start_ms = max(position.opened_ms, position.since_ms)
    stop, target = position.stop, position.target
    for one in [*decided, None]:
        until_ms = one.bar_close_ms if one is not None else int(candles.end_ms[-1])
        held = candles.select((candles.start_ms >= start_ms) & (candles.end_ms <= until_ms))
        if len(held):
            found = first_touch(held, start_ms, long=position.long, stop=stop, target=target)
            if found.reason != OPEN:
                return found
        if one is None:
            break
        if one.is_leaving:
            return Exit(one.kind, until_ms - candles.timeframe.ms, until_ms, one.close, both=False)
        start_ms, stop, target = until_ms, float(one.stop_loss), float(one.take_profit)
    return first_touch(candles, int(candles.end_ms[-1]), long=position.long, stop=stop, target=target)


def first_touch(candles: Candles, close_ms: int, *, long: bool, stop: float, target: float) -> Exit:
    """Which of two levels the candles after a close reach first; the stop where one bar reaches both."""
    after = candles.select(candles.start_ms >= close_ms)
    low, high = (stop, target) if long else (target, stop)
    touched = np.flatnonzero((after.low <= low) | (after.high >= high))
    if not len(touched):
        end_ms = int(after.end_ms[-1]) if len(after) else close_ms
        price = float(after.close[-1]) if len(after) else stop
        return Exit(OPEN, end_ms - candles.timeframe.ms, end_ms, price, both=False)
    bar = int(touched[0])
    at_stop, at_target = _reaches(after, bar, stop, below=long), _reaches(after, bar, target, below=not long)
    return Exit(
        STOP if at_stop else TARGET,
        int(after.start_ms[bar]),
        int(after.end_ms[bar]),
        stop if at_stop else target,
        both=at_stop and at_target,
    )


def bars_between(timeframe: Timeframe, start_ms: int, end_ms: int) -> range:
    """Closes of bars in [start_ms, end_ms)."""
    return range(-(-start_ms // timeframe.ms) * timeframe.ms, end_ms, timeframe.ms)


def _touches(candles: Candles, bar: int, level: float) -> bool:
    return bool(candles.low[bar] <= level <= candles.high[bar])


def _reaches(candles: Candles, bar: int, level: float, *, below: bool) -> bool:
    return bool(candles.low[bar] <= level) if below else bool(candles.high[bar] >= level)
