"""The strategies as described, and what their trades earn, in plain Python: lists, floats and loops.

Written from the description (docs/choices.md has the sources' numbers), not from the engine: nothing of the package is
imported, and no formula is shared with it. Slow on purpose.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
RATIOS = (0.0, 0.236, 0.382, 0.5, 0.618, 0.786, 1.0)
LEVEL_MINUTES = (1440, 240, 60, 15)
TREND_MINUTES = {1: 15, 3: 15, 5: 60, 15: 60, 30: 240, 60: 240, 120: 1440, 240: 1440}
TIE = 1e-12


@dataclass(frozen=True)
class Bar:
    """A candle; times in UTC ms."""

    start: int
    end: int
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True)
class Market:
    """A coin: its bars, first the warm-up; bars of other lengths by minutes; BTC's 240m bars; (time, rate) of funding.

    `first` is the index of the first bar that counts.
    """

    minutes: int
    bars: Sequence[Bar]
    first: int
    other: Mapping[int, Sequence[Bar]]
    btc: Sequence[Bar]
    funding: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Costs:
    """Fee, slippage and distance of the liquidation are fractions of price; a trade's value is in USD."""

    fee: float
    slippage: float
    notional: float
    liquidation: float


@dataclass(frozen=True)
class Entry:
    """A decision at the close of a bar: 1 long, -1 short; confidence in percent."""

    bar: int
    side: int
    confidence: float
    stop: float
    target: float


@dataclass(frozen=True)
class Trade:
    """A trade between two bars (indices of `Market.bars`); PnL net of fees and funding."""

    entry: int
    exit: int
    side: int
    entry_price: float
    exit_price: float
    pnl: float
    confidence: float
    closed: bool


def bars_of(shorter: Sequence[Bar], minutes: int, known_ms: int) -> list[Bar]:
    """Bars of so many minutes, made of shorter ones; those that had not ended by `known_ms` are left out."""
    length = minutes * MINUTE_MS
    slots: dict[int, list[Bar]] = {}
    for bar in shorter:
        slots.setdefault(bar.start // length * length, []).append(bar)
    return [
        Bar(
            start,
            start + length,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
        )
        for start, parts in sorted(slots.items())
        if start + length <= known_ms
    ]


def wilder_rsi(closes: Sequence[float], period: int) -> list[float]:
    """Wilder's RSI; NaN before it is defined."""
    found = [math.nan] * len(closes)
    if len(closes) <= period:
        return found
    gains = [max(now - before, 0.0) for before, now in pairwise(closes)]
    losses = [max(before - now, 0.0) for before, now in pairwise(closes)]
    gain, loss = sum(gains[:period]) / period, sum(losses[:period]) / period
    for index in range(period, len(closes)):
        if index > period:
            gain = (gain * (period - 1) + gains[index - 1]) / period
            loss = (loss * (period - 1) + losses[index - 1]) / period
        found[index] = 50.0 if gain + loss == 0 else 100.0 * gain / (gain + loss)
    return found


def wilder_atr(bars: Sequence[Bar], period: int) -> list[float]:
    """Wilder's average true range; NaN before it is defined."""
    found = [math.nan] * len(bars)
    ranges = [bars[0].high - bars[0].low] if bars else []
    for before, now in pairwise(bars):
        spans = (now.high - now.low, abs(now.high - before.close), abs(now.low - before.close))
        ranges.append(max(spans))
    if len(bars) < period:
        return found
    found[period - 1] = sum(ranges[:period]) / period
    for index in range(period, len(bars)):
        found[index] = (found[index - 1] * (period - 1) + ranges[index]) / period
    return found


def bollinger_position(closes: Sequence[float], period: int = 20, deviations: float = 2.0) -> list[float]:
    """(close - lower) / (upper - lower) * 2 - 1."""
    found = [math.nan] * len(closes)
    for index in range(period - 1, len(closes)):
        window = closes[index - period + 1 : index + 1]
        mean = math.fsum(window) / period
        deviation = math.sqrt(math.fsum((close - mean) ** 2 for close in window) / period)
        lower, upper = mean - deviations * deviation, mean + deviations * deviation
        if upper - lower > TIE * mean:
            found[index] = (closes[index] - lower) / (upper - lower) * 2 - 1
    return found


@dataclass
class _Ended:
    """Bars that had ended by a moment."""

    bars: Sequence[Bar]
    _ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._ends = [bar.end for bar in self.bars]

    def by(self, time_ms: int, count: int) -> Sequence[Bar]:
        """The last `count` that had ended; fewer where there were no more."""
        known = bisect_right(self._ends, time_ms)
        return self.bars[max(known - count, 0) : known]


def near_a_level(close: float, bars: Sequence[Bar], near_pct: float = 2.0, window: int = 30) -> bool:
    """Whether a Fibonacci level of the bars' range is within so many percent of the level."""
    if len(bars) < window:
        return False
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    if high <= low:
        return False
    levels = [low + (high - low) * ratio for ratio in RATIOS]
    return any(abs(close - level) <= level * (near_pct / 100 + TIE) for level in levels)


def bollinger_rsi(market: Market) -> list[Entry]:
    """Long below -0.7 of the bands, short above 0.7, RSI from 30 to 70; 60 %, and 10 more beyond 35 or 65."""
    closes = [bar.close for bar in market.bars]
    rsi, position = wilder_rsi(closes, 14), bollinger_position(closes)
    entries = []
    for index in range(len(closes)):
        if not 30 <= rsi[index] <= 70:
            continue
        side = 1 if position[index] < -0.7 else -1 if position[index] > 0.7 else 0
        if side:
            extreme = rsi[index] < 35 if side > 0 else rsi[index] > 65
            entries.append((index, side, 60.0 + 10.0 * extreme))
    return _with_levels(market, entries)


def fibonacci_bollinger(market: Market) -> list[Entry]:
    """`bollinger_rsi` where it is calm and BTC does not point against it; bonuses for a level, BTC and funding."""
    levels = [_Ended(market.other[minutes]) for minutes in LEVEL_MINUTES]
    hours, btc = _Ended(market.other[60]), _Ended(market.btc)
    paid_at = [time for time, _ in market.funding]
    entries = []
    for entry in bollinger_rsi(market):
        bar = market.bars[entry.bar]
        day = hours.by(bar.end, 24)
        trend_bars = btc.by(bar.end, 21)
        if len(day) < 24 or len(trend_bars) < 21:
            continue
        high, low = max(hour.high for hour in day), min(hour.low for hour in day)
        if (high - low) / low * 100 > 50:
            continue
        change = (trend_bars[-1].close - trend_bars[0].close) / trend_bars[0].close * 100
        trend = 1 if change > 2 else -1 if change < -2 else 0
        if trend == -entry.side:
            continue
        confidence = entry.confidence
        confidence += 10 * any(near_a_level(bar.close, ended.by(bar.start, 30)) for ended in levels)
        confidence += 10 * (trend == entry.side)
        known = bisect_left(paid_at, bar.end)
        rate = market.funding[known - 1][1] if known else 0.0
        confidence += 5 * (rate * entry.side < 0)
        entries.append((entry.bar, entry.side, confidence))
    return _with_levels(market, entries)


def hyperrsi(market: Market, period: int = 14, low: float = 30.0, high: float = 70.0) -> list[Entry]:
    """RSI that comes back over 30 while the 20-bar mean of the longer timeframe rises; the mirror image for a short."""
    rsi = wilder_rsi([bar.close for bar in market.bars], period)
    longer = _Ended(market.other[TREND_MINUTES[market.minutes]])
    entries = []
    for index in range(1, len(rsi)):
        before, now = rsi[index - 1], rsi[index]
        side = 1 if before < low <= now else -1 if before > high >= now else 0
        if not side:
            continue
        closes = [bar.close for bar in longer.by(market.bars[index].end, 21)]
        if len(closes) < 21:
            continue
        # The mean of the last twenty less the mean of the twenty before them.
        rises = closes[-1] - closes[0]
        if rises * side <= 0:
            continue
        extreme = before < low - 5 if side > 0 else before > high + 5
        entries.append((index, side, 60.0 + 10.0 * extreme))
    return _with_levels(market, entries)


def _with_levels(market: Market, entries: Sequence[tuple[int, int, float]]) -> list[Entry]:
    """Stop 1.5 x ATR(14) from the close, target twice as far; both above zero."""
    atr = wilder_atr(market.bars, 14)
    found = []
    for index, side, confidence in entries:
        close, away = market.bars[index].close, 1.5 * atr[index]
        stop, target = close - side * away, close + side * 2 * away
        if away > 0 and stop > 0 and target > 0:
            found.append(Entry(index, side, confidence, stop, target))
    return found


def trades_of(market: Market, entries: Sequence[Entry], costs: Costs) -> list[Trade]:
    """One position at a time, from the close of its bar to the bar that touches a level; the stop first."""
    bars, free_from, trades = market.bars, market.first, []
    ends = [bar.end for bar in bars]
    for entry in entries:
        close = bars[entry.bar].close
        if entry.bar < free_from or abs(entry.stop - close) / close >= costs.liquidation:
            continue
        size = costs.notional / close
        price = close * (1 + entry.side * costs.slippage)
        fees = costs.fee * size * price
        for index in range(entry.bar + 1, len(bars)):
            touched = _touched(bars[index], entry)
            if touched is not None:
                out = touched * (1 - entry.side * costs.slippage)
                fees += costs.fee * size * out
                closed, last_payment, free_from = True, bars[index].start, index + 1
                break
        else:
            index, out, closed, last_payment, free_from = len(bars) - 1, bars[-1].close, False, bars[-1].end, len(bars)
        paid = entry.side * size * _funding(market, ends, bars[entry.bar].end, last_payment)
        pnl = entry.side * size * (out - price) - fees - paid
        trades.append(Trade(entry.bar, index, entry.side, price, out, pnl, entry.confidence, closed))
    return trades


def _touched(bar: Bar, entry: Entry) -> float | None:
    """Price at which a bar ends a position: the open where it opens beyond the level."""
    adverse, favourable = (bar.low, bar.high) if entry.side > 0 else (bar.high, bar.low)
    if (adverse - entry.stop) * entry.side <= 0:
        return entry.stop if (bar.open - entry.stop) * entry.side > 0 else bar.open
    if (favourable - entry.target) * entry.side >= 0:
        return entry.target if (bar.open - entry.target) * entry.side < 0 else bar.open
    return None


def _funding(market: Market, ends: Sequence[int], after: int, until: int) -> float:
    """What a long of one coin pays in (after, until], at the last close at or before each payment."""
    total = 0.0
    for time, rate in market.funding:
        if after < time <= until:
            total += rate * market.bars[bisect_right(ends, time) - 1].close
    return total
