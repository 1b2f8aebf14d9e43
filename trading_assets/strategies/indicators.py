"""Indicators as their authors define them, on arrays of shape (n,), NaN where not yet defined. No entry rules here.

A value at bar i uses bars up to i only, and is the same number to the last bit whatever follows the bar. Nothing here
is compiled or needs more than numpy: an indicator of 6000 bars takes less than half a millisecond. A sweep computes
what is `shared` once for all its parameter sets; `backtesting.kernel.indicators` has compiled versions of the four
costliest. All but `wilder`, `rsi` and `atr` act along the last axis, so that they serve several coins at once.
"""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import FloatArray
from trading_assets.strategies.indicator_cache import shared

_BLOCK = 128

FLAT = 1e-12
"""A band narrower, or a distance larger by no more than this fraction of the price, is rounding."""


def wilder(values: FloatArray, period: int) -> FloatArray:
    """Wilder's smoothing (Wilder 1978): the mean of the first `period` values, then alpha = 1 / `period`.

    Leading NaN are skipped. The first result is at the last of the first `period` values. After a later NaN everything
    is NaN.
    """
    out = np.full(len(values), np.nan)
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite) or len(values) - finite[0] < period:
        return out
    first = int(finite[0]) + period - 1
    seed = float(np.cumsum(values[first - period + 1 : first + 1])[-1]) / period
    out[first] = seed
    out[first + 1 :] = _smoothed(values[first + 1 :], period, seed)
    return out


def _smoothed(inputs: FloatArray, period: int, start: float) -> FloatArray:
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


def decay_powers(period: int) -> tuple[FloatArray, FloatArray]:
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
    share = np.full(len(close), np.nan)
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
