"""Indicators as their authors define them, on arrays of shape (n,), NaN where not yet defined. No entry rules here.

A value at bar i uses bars up to i only, and is the same number to the last bit whatever follows the bar. Nothing here
is compiled or needs more than numpy: an indicator of 6000 bars takes less than a millisecond, but `supertrend`, which
goes bar by bar. A sweep computes what is `shared` once for all its parameter sets; `backtesting.kernel.indicators` has
compiled versions of the four costliest. All act along the last axis, so that they serve several coins at once, shape
(coins, n). Definitions are those of TA-Lib and of TradingView where these agree; a test compares them with TA-Lib.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.timeframes import DAY_MS
from trading_assets.strategies.indicator_cache import shared

_BLOCK = 128

FLAT = 1e-12
"""A band narrower, or a distance larger by no more than this fraction of the price, is rounding."""


def wilder(values: FloatArray, period: int) -> FloatArray:
    """Wilder's smoothing (Wilder 1978): the mean of the first `period` values, then alpha = 1 / `period`.

    Leading NaN are skipped. The first result is at the last of the first `period` values. After a later NaN everything
    is NaN.
    """
    return _by_row(lambda row: _exponential(row, period, period), values)


def _smoothed(inputs: FloatArray, period: float, start: float) -> FloatArray:
    """y[i] = y[i-1] + (inputs[i] - y[i-1]) / period with y[-1] = start.

    With decay = 1 - 1 / period, inside a block y[k] = decay^(k+1) * (y[-1] + sum of inputs[j] / (period *
    decay^(j+1))): a cumulative sum. Blocks are short, so that the powers stay in range; only the last values of blocks
    are chained one by one.
    """
    blocks = -(-len(inputs) // _BLOCK)
    padded = np.zeros((blocks, _BLOCK))
    padded.ravel()[: len(inputs)] = inputs
    powers, weights = decay_powers(period)
    inside = np.cumsum(padded * weights, axis=1) * powers
    across = float(powers[-1])
    carried = np.empty(blocks)
    for block, last in enumerate(inside[:, -1].tolist()):
        carried[block] = start
        start = start * across + last
    return (inside + carried[:, None] * powers).ravel()[: len(inputs)]


def decay_powers(period: float) -> tuple[FloatArray, FloatArray]:
    """decay^1 .. decay^128 with decay = 1 - 1 / period; and 1 / (period * each). Shapes (128,), of a block."""
    powers = np.power(1 - 1 / period, np.arange(1, _BLOCK + 1), dtype=np.float64)
    return powers, 1 / (period * powers)


@shared
def rsi(close: FloatArray, period: int = 14) -> FloatArray:
    """Relative strength index (Wilder 1978), 0 to 100, first defined after `period` changes.

    100 where there were gains and no losses, 0 the other way round, 50 where prices did not move at all.
    """
    change = np.diff(close, prepend=np.nan)
    gain = wilder(np.maximum(change, 0.0), period)
    total = gain + wilder(np.maximum(-change, 0.0), period)
    share = np.full(close.shape, np.nan)
    np.divide(gain, total, out=share, where=total > 0)
    share[total == 0.0] = 0.5
    return 100.0 * share


@shared
def true_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Wilder's true range, price units; the first bar has only its own range."""
    out = high - low
    before = close[..., :-1]
    out[..., 1:] = np.maximum(high[..., 1:], before) - np.minimum(low[..., 1:], before)
    return out


@shared
def atr(high: FloatArray, low: FloatArray, close: FloatArray, period: int = 14) -> FloatArray:
    """Average true range (Wilder 1978), price units, first defined at bar `period` (counted from 1)."""
    return wilder(true_range(high, low, close), period)


@shared
def bollinger_moments(close: FloatArray, period: int) -> tuple[FloatArray, FloatArray]:
    """Mean and population standard deviation of the last `period` closes."""
    middle, deviation = np.full(close.shape, np.nan), np.full(close.shape, np.nan)
    count = close.shape[-1] - period + 1
    if count > 0:
        # Sums in a fixed order and deviations from the window's own mean: no drift, no cancellation.
        mean = np.zeros((*close.shape[:-1], count))
        for offset in range(period):
            mean += close[..., offset : offset + count]
        mean /= period
        squares, distance = np.zeros(mean.shape), np.empty(mean.shape)
        for offset in range(period):
            np.subtract(close[..., offset : offset + count], mean, out=distance)
            distance *= distance
            squares += distance
        middle[..., period - 1 :] = mean
        deviation[..., period - 1 :] = np.sqrt(squares / period)
    return middle, deviation


@shared
def bollinger(
    close: FloatArray, period: int = 20, deviations: float = 2.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lower, middle and upper band (Bollinger 2001): mean and population standard deviation of `period` closes."""
    middle, deviation = bollinger_moments(close, period)
    return middle - deviations * deviation, middle, middle + deviations * deviation


@shared
def bollinger_position(close: FloatArray, period: int = 20, deviations: float = 2.0) -> FloatArray:
    """Position of the close in its bands: -1 on the lower, 1 on the upper; NaN where the bands have no width."""
    lower, _, upper = bollinger(close, period, deviations)
    width = upper - lower
    position = np.full(close.shape, np.nan)
    np.divide(close - lower, width, out=position, where=width > FLAT * np.abs(close))
    return position * 2 - 1


@shared
def rolling_max(values: FloatArray, period: int) -> FloatArray:
    """Highest of the last `period` values."""
    return _rolling(values, period, np.maximum)


@shared
def rolling_min(values: FloatArray, period: int) -> FloatArray:
    """Lowest of the last `period` values."""
    return _rolling(values, period, np.minimum)


def _rolling(values: FloatArray, period: int, extreme: np.ufunc) -> FloatArray:
    """The extreme of a span from those of two overlapping halves: log2(period) passes."""
    out = np.full(values.shape, np.nan)
    if values.shape[-1] < period:
        return out
    span, found = 1, values
    while span < period:
        step = min(span, period - span)
        found = extreme(found[..., step:], found[..., : found.shape[-1] - step])
        span += step
    out[..., period - 1 :] = found
    return out


@shared
def near_level(
    close: FloatArray, low: FloatArray, high: FloatArray, ratios: tuple[float, ...], near_pct: float
) -> FloatArray:
    """1 where the close is within `near_pct` percent of a level low + ratio * (high - low), else 0.

    Percent of the level: 98.0 is within 2 % of 100, 102.03 is not. A close at that very distance is near, whatever the
    rounding of the level. A range without height has no levels.
    """
    span = high - low
    near = np.zeros(close.shape, dtype=bool)
    for ratio in ratios:
        level = low + span * ratio
        near |= np.abs(close - level) <= level * (near_pct / 100 + FLAT)
    return (near & (span > 0)).astype(np.float64)


@shared
def change_pct(close: FloatArray, bars: int) -> FloatArray:
    """Change over `bars` bars, percent."""
    out = np.full(close.shape, np.nan)
    # The difference first: 50,000 to 51,000 is 2 % exactly, not 2.0000000000000018.
    out[..., bars:] = (close[..., bars:] - close[..., :-bars]) / close[..., :-bars] * 100
    return out


@shared
def previous(values: FloatArray) -> FloatArray:
    """The value of the bar before; NaN at the first bar."""
    out = np.full(values.shape, np.nan)
    out[..., 1:] = values[..., :-1]
    return out


# Averages


@shared
def sma(values: FloatArray, period: int) -> FloatArray:
    """Simple moving average: the mean of the last `period` values."""
    return _rolling_sums(values, period)[0] / period


@shared
def wma(values: FloatArray, period: int) -> FloatArray:
    """Weighted moving average of the last `period` values: the newest has the weight `period`, the oldest 1."""
    return _rolling_sums(values, period)[1] / (period * (period + 1) / 2)


@shared
def ema(values: FloatArray, period: int) -> FloatArray:
    """Exponential moving average: alpha = 2 / (`period` + 1), begun with the mean of the first `period` values.

    Leading NaN are skipped; after a later NaN everything is NaN. The begin weighs less than a millionth after 7 times
    `period` bars.
    """
    return _by_row(lambda row: _exponential(row, period, (period + 1) / 2), values)


def _exponential(values: FloatArray, period: int, inverse_alpha: float) -> FloatArray:
    """See `wilder`, with any alpha: shape (n,)."""
    out = np.full(len(values), np.nan)
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite) or len(values) - finite[0] < period:
        return out
    if period == 1:
        out[finite[0] :] = values[finite[0] :]
        return out
    first = int(finite[0]) + period - 1
    seed = float(np.cumsum(values[first - period + 1 : first + 1])[-1]) / period
    out[first] = seed
    out[first + 1 :] = _smoothed(values[first + 1 :], inverse_alpha, seed)
    return out


def _rolling_sums(values: FloatArray, period: int) -> tuple[FloatArray, FloatArray]:
    """Sums of the last `period` values, plain and weighted by 1 to `period`.

    Of spans that double, so in log2(period) passes, without a running sum that would drift.
    """
    plain, weighted = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    count = values.shape[-1] - period + 1
    if count < 1:
        return plain, weighted
    span, done, one, by_weight = 1, 0, values, values
    total, weighted_total = np.zeros((*values.shape[:-1], count)), np.zeros((*values.shape[:-1], count))
    while True:
        if period & span:
            total += one[..., done : done + count]
            weighted_total += by_weight[..., done : done + count] + done * one[..., done : done + count]
            done += span
        if 2 * span > period:
            break
        later = one[..., span:]
        by_weight = by_weight[..., :-span] + by_weight[..., span:] + span * later
        one = one[..., :-span] + later
        span *= 2
    plain[..., period - 1 :], weighted[..., period - 1 :] = total, weighted_total
    return plain, weighted


def _by_row(function: Callable[..., FloatArray], *arrays: FloatArray) -> FloatArray:
    """A function of rows, of each coin's; the result may have more axes in front of the last one."""
    if arrays[0].ndim == 1:
        return function(*arrays)
    made = [function(*rows) for rows in zip(*arrays, strict=True)]
    return np.stack(made, axis=-2)


# Momentum and trend


@shared
def macd(
    close: FloatArray, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Moving average convergence and divergence (Appel 1979): line, its signal, and line less signal; price units.

    Each average begins with its own first values. TA-Lib begins the fast one where the slow one begins: the two are the
    same after some 150 bars.
    """
    line = ema(close, fast) - ema(close, slow)
    of_line = ema(line, signal)
    return line, of_line, line - of_line


@shared
def stochastic(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int = 14, smooth: int = 3, signal: int = 3
) -> tuple[FloatArray, FloatArray]:
    """Slow stochastic (Lane 1984): %K, smoothed over `smooth` bars, and %D, its mean of `signal` bars; 0 to 100.

    A bar whose range of `period` bars has no height counts as 50.
    """
    lowest, highest = rolling_min(low, period), rolling_max(high, period)
    place, height = np.full(close.shape, np.nan), highest - lowest
    np.divide(close - lowest, height, out=place, where=height > 0)
    place[height == 0] = 0.5
    smoothed = sma(100.0 * place, smooth)
    return smoothed, sma(smoothed, signal)


@shared
def adx(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int = 14
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Directional movement (Wilder 1978): +DI, -DI and ADX, 0 to 100.

    Smoothed as Wilder does, begun with the mean of the first `period` movements, and of the first `period` DX. TA-Lib
    begins otherwise; the two are the same after some 300 bars. Where no range moved at all all three are 0.
    """
    up, down = np.full(high.shape, np.nan), np.full(high.shape, np.nan)
    rise, fall = high[..., 1:] - high[..., :-1], low[..., :-1] - low[..., 1:]
    up[..., 1:] = np.where((rise > fall) & (rise > 0), rise, 0.0)
    down[..., 1:] = np.where((fall > rise) & (fall > 0), fall, 0.0)
    span = true_range(high, low, close).copy()
    span[..., :1] = np.nan  # the first bar has no movement either

    of_span = wilder(span, period)
    plus, minus = _percent(wilder(up, period), of_span), _percent(wilder(down, period), of_span)
    return plus, minus, wilder(_percent(np.abs(plus - minus), plus + minus), period)


def _percent(part: FloatArray, whole: FloatArray) -> FloatArray:
    out = np.where(np.isnan(whole), np.nan, 0.0)
    np.divide(100.0 * part, whole, out=out, where=whole > 0)
    return out


@shared
def supertrend(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int = 10, multiple: float = 3.0
) -> tuple[FloatArray, FloatArray]:
    """Supertrend (Seban): the line, and its direction, 1 while the price is above it and -1 below.

    The line follows the middle of the bars at `multiple` ATR, never away from the price, and changes its side when a
    close crosses it. The first direction is that of the first close that leaves the bands; until then it is -1.
    """
    middle, distance = (high + low) / 2, multiple * atr(high, low, close, period)
    found = _by_row(_supertrend, middle - distance, middle + distance, close)
    return found[0], found[1]


def _supertrend(lower: FloatArray, upper: FloatArray, close: FloatArray) -> FloatArray:
    """Line and direction, shape (2, n). Each value depends on the one before by a choice, so it goes bar by bar."""
    out = np.full((2, len(close)), np.nan)
    first = int(np.argmax(np.isfinite(lower))) if np.isfinite(lower).any() else len(close)
    bottoms, tops, closes = lower.tolist(), upper.tolist(), close.tolist()
    lines, ways, way = [], [], -1.0
    bottom, top, before = -np.inf, np.inf, np.nan
    for bar in range(first, len(close)):
        bottom = bottoms[bar] if bottoms[bar] > bottom or before < bottom else bottom
        top = tops[bar] if tops[bar] < top or before > top else top
        before = closes[bar]
        way = (1.0 if before > top else -1.0) if way < 0 else (-1.0 if before < bottom else 1.0)
        lines.append(bottom if way > 0 else top)
        ways.append(way)
    out[0, first:], out[1, first:] = lines, ways
    out[:, ~np.isfinite(lower + upper + close)] = np.nan
    return out


# Channels


@shared
def donchian(high: FloatArray, low: FloatArray, period: int = 20) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Donchian's channel: lowest low, middle and highest high of the last `period` bars, this one included."""
    lower, upper = rolling_min(low, period), rolling_max(high, period)
    return lower, (lower + upper) / 2, upper


@shared
def keltner(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int = 20, atr_period: int = 10, multiple: float = 2.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Keltner's channel as Raschke draws it: the EMA of closes, and `multiple` ATR below and above it."""
    middle = ema(close, period)
    distance = multiple * atr(high, low, close, atr_period)
    return middle - distance, middle, middle + distance


# Volume


@shared
def obv(close: FloatArray, volume: FloatArray) -> FloatArray:
    """On-balance volume (Granville 1963), base coin: volume is added where the close rose, taken where it fell.

    It begins with the first bar's volume, wherever the data begin, as TA-Lib does: use its changes, never its level.
    """
    signed = volume.astype(np.float64)
    signed[..., 1:] *= np.sign(close[..., 1:] - close[..., :-1])
    return np.cumsum(signed, axis=-1)


@shared
def vwap(candles: Candles) -> FloatArray:
    """Volume-weighted average of the typical price (high + low + close) / 3 since 00:00 UTC.

    NaN on the day in which the data begin, unless they begin with it, and before the day's first volume. A strategy
    that uses it declares the bars of a day as its warm-up.
    """
    day, within = candles.start_ms // DAY_MS, candles.start_ms % DAY_MS // candles.timeframe.ms
    volume = candles.volume
    if not volume.shape[-1]:
        return np.full(volume.shape, np.nan)
    row = day - day[0]
    table = np.zeros((*volume.shape[:-1], int(row[-1]) + 1, DAY_MS // candles.timeframe.ms))

    def since_midnight(values: FloatArray) -> FloatArray:
        table[...] = 0.0
        table[..., row, within] = values
        return np.cumsum(table, axis=-1)[..., row, within]

    typical = (candles.high + candles.low + candles.close) / 3
    traded, total = since_midnight(typical * volume), since_midnight(volume)
    out = np.full(volume.shape, np.nan)
    whole = (row > 0) | (within[0] == 0)
    np.divide(traded, total, out=out, where=whole & (total > 0))
    return out


@shared
def rolling_vwap(candles: Candles, period: int) -> FloatArray:
    """Volume-weighted average of the typical price (high + low + close) / 3 of the last `period` bars.

    NaN where nothing was traded in them.
    """
    typical = (candles.high + candles.low + candles.close) / 3
    traded = _rolling_sums(typical * candles.volume, period)[0]
    total = _rolling_sums(candles.volume, period)[0]
    out = np.full(typical.shape, np.nan)
    np.divide(traded, total, out=out, where=total > 0)
    return out
