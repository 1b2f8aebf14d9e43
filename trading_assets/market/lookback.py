"""How far back candles are needed: for backtests and for the live finder. Arithmetic only, no reading.

What the hours of a UTC day read begins at the same candle, as far back as the day's first hour needs: so they share
their indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import DAY_MS, LIVE_BARS, TRADED_TIMEFRAMES, Timeframe, floor_ms

FUNDING_REACH_MS = 45 * DAY_MS
"""Funding is stored this far back: the longest window, and a margin for the payment before it."""

FUNDING_OF_DAY_MS = FUNDING_REACH_MS - DAY_MS
"""From the start of a day back to the first payment that its hours read: stored for the last of them, too."""


class HasNeeds(Protocol):
    """A strategy, or anything that knows the data it needs."""

    def needs(self) -> DataNeeds: ...


def stored_timeframe(timeframe: Timeframe) -> Timeframe:
    """The timeframe that the store holds for it: days are made of 240m candles."""
    return Timeframe.M240 if timeframe is Timeframe.D1 else timeframe


def window_ms(timeframe: Timeframe) -> int:
    """Length of the backtest window."""
    return timeframe.window_bars * timeframe.ms


def anchor_ms(hour_ms: int) -> int:
    """Start of the hour's UTC day. From there back the hours of a day count what they read before their windows."""
    return floor_ms(hour_ms, DAY_MS)


def first_decided_ms(hour_ms: int, timeframe: Timeframe) -> int:
    """Open of the first bar of which the hours of a day have decisions, UTC ms: none of their windows begins before."""
    return anchor_ms(hour_ms) - window_ms(timeframe)


def own_reach_ms(timeframe: Timeframe, needs: DataNeeds, *, live: bool = False) -> int:
    """From the as-of back to the first candle of the own timeframe, the declared warm-up included.

    A backtest's is that of the last hour of a day.
    """
    decided = LIVE_BARS * timeframe.ms if live else window_ms(timeframe) + DAY_MS
    return decided + needs.warm_up_bars(timeframe) * timeframe.ms


def other_reach_ms(timeframe: Timeframe, other: Timeframe, bars: int, *, live: bool = False) -> int:
    """From the as-of back to the first candle of `other` of which `bars` must be known at the first decided bar.

    One more of `other` covers the candle that straddles that moment.
    """
    decided = LIVE_BARS * timeframe.ms if live else window_ms(timeframe) + DAY_MS
    return decided + timeframe.ms + (bars + 1) * other.ms


def reach_ms(stored: Timeframe, strategies: Sequence[HasNeeds]) -> int:
    """From the as-of back to the first candle of `stored` that any backtest on any timeframe reads."""
    return reaches_ms(stored, strategies)[-1]


def reaches_ms(stored: Timeframe, strategies: Sequence[HasNeeds]) -> list[int]:
    """From the as-of back to the first candle of `stored`, ascending: what every backtest on that timeframe reads, and
    each farther reach of a backtest on any.

    A strategy that is tried on some timeframes alone (`ConfiguredStrategy.timeframes`) asks for nothing on others.
    """
    ((*_, least),) = stored_reaches(stored, DataNeeds())
    reaches = {least}
    for strategy in strategies:
        needs = strategy.needs()
        for timeframe in getattr(strategy, "timeframes", TRADED_TIMEFRAMES):
            reaches.update(reach for read, _, reach in stored_reaches(timeframe, needs) if read is stored)
    return sorted(reach for reach in reaches if reach >= least)


def stored_reaches(timeframe: Timeframe, needs: DataNeeds) -> list[tuple[Timeframe, bool, int]]:
    """What a backtest on `timeframe` reads, its own candles first.

    Returns:
        The stored timeframe, whether they are candles of BTC, and how far back of the as-of they are read, whole bars
        in ms.
    """
    reads = [(timeframe, False, own_reach_ms(timeframe, needs))]
    for is_btc, wanted in ((False, needs.candles), (True, needs.btc)):
        for other, bars in wanted.items():
            reads.append((stored_timeframe(other), is_btc, other_reach_ms(timeframe, other, bars)))
    return [(stored, is_btc, -(-reach // stored.ms) * stored.ms) for stored, is_btc, reach in reads]
