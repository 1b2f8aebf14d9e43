"""What the backtest does on closed candles: the entries of a selection, how a trade from there ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Engine
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.base import Strategy
from trading_assets.trading.decide.sizing import stops

STOP, TARGET, OPEN = "stop", "target", "open"


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
        reason: stop, target or open.
        start_ms, end_ms: of the bar in which it ends; of the last bar where it is open.
        price: with slippage; the last close where it is open.
        both: the bar touches stop and target, so the order of the two is not known from it.
    """

    reason: str
    start_ms: int
    end_ms: int
    price: float
    both: bool


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
) -> Exit | None:
    """How the engine ends a trade that begins at the close of a bar; None where the candles lack that bar.

    Args:
        candles: up to the as-of.
    """
    entry = int(np.searchsorted(candles.end_ms, close_ms))
    if entry >= len(candles) or int(candles.end_ms[entry]) != close_ms:
        return None
    held = candles.select(slice(entry, None))
    column = Column.from_entry(
        held, close_ms, long=long, stop_fraction=stop_fraction, reward_risk=reward_risk, funding=Funding.empty()
    )
    [trades] = engine.simulate([column], costs)
    if not len(trades):
        return None
    bar, price = int(trades.exit[0]), float(trades.exit_price[0])
    start_ms, end_ms = int(held.start_ms[bar]), int(held.end_ms[bar])
    if not bool(trades.closed[0]):
        return Exit(OPEN, start_ms, end_ms, price, both=False)
    close, sign = float(held.close[0]), 1 if long else -1
    stop = close * (1 - sign * stop_fraction)
    target = close * (1 + sign * stop_fraction * reward_risk)
    # By the bar, as the engine decides: a price with slippage may lie nearer to the other level.
    reason = STOP if _reaches(held, bar, stop, below=long) else TARGET
    return Exit(reason, start_ms, end_ms, price, both=_touches(held, bar, stop) and _touches(held, bar, target))


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
