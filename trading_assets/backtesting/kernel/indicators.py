"""Compiled versions of the costliest functions of `strategies.indicators`; docs/engine.md has what each of them saves.

A compiled version does the same arithmetic in the same order, so its numbers are equal to the last bit: what a backtest
decides is what the live finder decides. It takes arrays of one coin, shape (n,), or of a panel of coins, shape
(coins, n). Data that are not all finite go to the original. Import this module only where a sweep begins: it imports
numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import unwrap
from typing import Any

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.backtesting.kernel.machine_code import cached
from trading_assets.core.candles import FloatArray
from trading_assets.strategies import indicators as originals

_row = numba.types.Array(numba.float64, 1, "C", readonly=True)
_rows = numba.types.Array(numba.float64, 2, "C", readonly=True)
_out = numba.float64[:, ::1]
_CHUNK = 128
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


@lru_cache(maxsize=256)
def _powers(period: int) -> tuple[FloatArray, FloatArray]:
    return originals.decay_powers(period)


@numba.njit(inline="always")
def _share(gain, loss):  # type: ignore[no-untyped-def]
    total = gain + loss
    if total == 0.0:
        return 50.0
    return 100.0 * (gain / total)


@cached(numba.boolean(_rows, numba.int64, _row, _row, _out), **_OPTIONS)
def _rsi(closes, period, powers, weights, out):  # type: ignore[no-untyped-def]
    size = len(powers)
    across = powers[size - 1]
    gains, losses = np.empty(size), np.empty(size)
    endless = False
    for coin in range(len(closes)):
        close, found = closes[coin], out[coin]
        bars = len(close)
        for bar in range(bars):
            endless |= close[bar] - close[bar] != 0.0
        found[: min(period, bars)] = np.nan
        if bars <= period:
            continue
        gain, loss = 0.0, 0.0
        for bar in range(1, period + 1):
            change = close[bar] - close[bar - 1]
            gain += max(change, 0.0)
            loss += max(-change, 0.0)
        gain /= period
        loss /= period
        found[period] = _share(gain, loss)
        # Three passes over a block: only the sums in the middle one have to go bar by bar.
        for start in range(period + 1, bars, size):
            now, before = close[start : start + size], close[start - 1 : start - 1 + size]
            length = len(now)
            for step in range(length):
                change = now[step] - before[step]
                gains[step] = (change if change > 0.0 else 0.0) * weights[step]
                losses[step] = (-change if change < 0.0 else 0.0) * weights[step]
            up, down = 0.0, 0.0
            for step in range(length):
                up += gains[step]
                gains[step] = up
                down += losses[step]
                losses[step] = down
            block = found[start : start + size]
            for step in range(length):
                one = gains[step] * powers[step] + gain * powers[step]
                other = losses[step] * powers[step] + loss * powers[step]
                total = one + other
                block[step] = 100.0 * (one / total) if total != 0.0 else 50.0
            gain = gain * across + up * powers[length - 1]
            loss = loss * across + down * powers[length - 1]
    return not endless


@cached(numba.boolean(_rows, _rows, _rows, numba.int64, _row, _row, _out), **_OPTIONS)
def _atr(highs, lows, closes, period, powers, weights, out):  # type: ignore[no-untyped-def]
    size = len(powers)
    across = powers[size - 1]
    ranges = np.empty(size)
    endless = False
    for coin in range(len(closes)):
        high, low, close, found = highs[coin], lows[coin], closes[coin], out[coin]
        bars = len(close)
        for bar in range(bars):
            endless |= (high[bar] - high[bar]) + (low[bar] - low[bar]) + (close[bar] - close[bar]) != 0.0
        found[: min(period - 1, bars)] = np.nan
        if bars < period:
            continue
        total = high[0] - low[0]
        for bar in range(1, period):
            total += max(high[bar], close[bar - 1]) - min(low[bar], close[bar - 1])
        carried = total / period
        found[period - 1] = carried
        for start in range(period, bars, size):
            highest, lowest = high[start : start + size], low[start : start + size]
            before = close[start - 1 : start - 1 + size]
            length = len(highest)
            for step in range(length):
                last = before[step]
                top = highest[step] if highest[step] > last else last
                bottom = lowest[step] if lowest[step] < last else last
                ranges[step] = (top - bottom) * weights[step]
            up = 0.0
            for step in range(length):
                up += ranges[step]
                ranges[step] = up
            block = found[start : start + size]
            for step in range(length):
                block[step] = ranges[step] * powers[step] + carried * powers[step]
            carried = carried * across + up * powers[length - 1]
    return not endless


@cached(numba.void(_rows, numba.int64, _out, _out), **_OPTIONS)
def _moments(closes, period, middles, deviations):  # type: ignore[no-untyped-def]
    for coin in range(len(closes)):
        close, middle, deviation = closes[coin], middles[coin], deviations[coin]
        bars = len(close)
        middle[: min(period - 1, bars)] = np.nan
        deviation[: min(period - 1, bars)] = np.nan
        for start in range(period - 1, bars, _CHUNK):
            stop = min(start + _CHUNK, bars)
            mean, squares = middle[start:stop], deviation[start:stop]
            mean[:] = 0.0
            squares[:] = 0.0
            length = len(mean)
            # Four offsets at a time: sums stay in registers. The order of additions is that of one at a time.
            offset = start - period + 1
            while offset + 4 <= start + 1:
                one, two = close[offset : offset + length], close[offset + 1 : offset + 1 + length]
                three, four = close[offset + 2 : offset + 2 + length], close[offset + 3 : offset + 3 + length]
                for bar in range(length):
                    mean[bar] = mean[bar] + one[bar] + two[bar] + three[bar] + four[bar]
                offset += 4
            while offset <= start:
                one = close[offset : offset + length]
                for bar in range(length):
                    mean[bar] += one[bar]
                offset += 1
            for bar in range(length):
                mean[bar] /= period
            offset = start - period + 1
            while offset + 4 <= start + 1:
                one, two = close[offset : offset + length], close[offset + 1 : offset + 1 + length]
                three, four = close[offset + 2 : offset + 2 + length], close[offset + 3 : offset + 3 + length]
                for bar in range(length):
                    of = mean[bar]
                    a, b, c, d = one[bar] - of, two[bar] - of, three[bar] - of, four[bar] - of
                    squares[bar] = squares[bar] + a * a + b * b + c * c + d * d
                offset += 4
            while offset <= start:
                one = close[offset : offset + length]
                for bar in range(length):
                    a = one[bar] - mean[bar]
                    squares[bar] += a * a
                offset += 1
            for bar in range(len(mean)):
                squares[bar] = np.sqrt(squares[bar] / period)


@cached(numba.void(_rows, _rows, _rows, numba.float64, numba.float64, _out), **_OPTIONS)
def _position(closes, middles, distances, deviations, flat, out):  # type: ignore[no-untyped-def]
    for coin in range(len(closes)):
        close, middle, distance, found = closes[coin], middles[coin], distances[coin], out[coin]
        for bar in range(len(close)):
            half = deviations * distance[bar]
            lower, upper = middle[bar] - half, middle[bar] + half
            width = upper - lower
            found[bar] = (close[bar] - lower) / width * 2 - 1 if width > flat * abs(close[bar]) else np.nan


@cached(numba.void(_rows, _rows, _rows, _row, numba.float64, _out), **_OPTIONS)
def _near_level(closes, lows, highs, ratios, near, out):  # type: ignore[no-untyped-def]
    for coin in range(len(closes)):
        close, low, high, found = closes[coin], lows[coin], highs[coin], out[coin]
        found[:] = 0.0
        for ratio in ratios:
            for bar in range(len(close)):
                span = high[bar] - low[bar]
                level = low[bar] + span * ratio
                if (abs(close[bar] - level) <= level * near) & (span > 0.0):
                    found[bar] = 1.0


def rsi(close: FloatArray, period: int = 14) -> FloatArray:
    """See the original."""
    out = np.empty(close.shape)
    sound = _rsi(_clean(close), period, *_powers(period), _two(out))
    return out if sound else _by_original(originals.rsi, period, close)


def atr(high: FloatArray, low: FloatArray, close: FloatArray, period: int = 14) -> FloatArray:
    """See the original."""
    out = np.empty(close.shape)
    sound = _atr(_clean(high), _clean(low), _clean(close), period, *_powers(period), _two(out))
    return out if sound else _by_original(originals.atr, period, high, low, close)


def bollinger_moments(close: FloatArray, period: int) -> tuple[FloatArray, FloatArray]:
    """See the original."""
    middle, deviation = np.empty(close.shape), np.empty(close.shape)
    _moments(_clean(close), period, _two(middle), _two(deviation))
    return middle, deviation


def bollinger_position(close: FloatArray, period: int = 20, deviations: float = 2.0) -> FloatArray:
    """See the original."""
    out = np.empty(close.shape)
    moments = map(_clean, originals.bollinger_moments(close, period))
    _position(_clean(close), *moments, deviations, originals.FLAT, _two(out))
    return out


def near_level(
    close: FloatArray, low: FloatArray, high: FloatArray, ratios: tuple[float, ...], near_pct: float
) -> FloatArray:
    """See the original."""
    if not close.shape == low.shape == high.shape:
        return unwrap(originals.near_level)(close, low, high, ratios, near_pct)
    out = np.empty(close.shape)
    levels = np.array(ratios, dtype=np.float64)
    _near_level(_clean(close), _clean(low), _clean(high), levels, near_pct / 100 + originals.FLAT, _two(out))
    return out


def _clean(values: FloatArray) -> FloatArray:
    return _two(np.ascontiguousarray(values, dtype=np.float64))


def _two(values: FloatArray) -> FloatArray:
    """One symbol is a panel of one."""
    return values if values.ndim == 2 else values[None]


def _by_original(original: Callable[..., FloatArray], period: int, *arrays: FloatArray) -> FloatArray:
    function = unwrap(original)
    if arrays[0].ndim == 1:
        return function(*arrays, period)
    return np.array([function(*rows, period) for rows in zip(*arrays, strict=True)])


COMPILED_INDICATORS = {
    function.__name__: function for function in (rsi, atr, bollinger_moments, bollinger_position, near_level)
}
"""By the name of the original."""
