"""Compiled twins of the costlier functions in `trading_assets.strategies`' `indicators` and `alignment`.

A twin is the same arithmetic in the same order, so its numbers are equal to the last bit: what a backtest decides is
what the live finder decides. Tests hold this. Data that are not all finite go to the original. Import this module only
where a sweep begins: it imports numba.
"""

from __future__ import annotations

from functools import lru_cache
from inspect import unwrap
from typing import Any

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.market.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.strategies import indicators as originals

_real = numba.types.Array(numba.float64, 1, "C", readonly=True)
_whole = numba.types.Array(numba.int64, 1, "C", readonly=True)
_out = numba.float64[::1]
_CHUNK = 128
_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy"}


@lru_cache(maxsize=256)
def _powers(period: int) -> FloatArray:
    return originals.decay_powers(1 - 1 / period)


@numba.njit(inline="always")
def _share(gain, loss):  # type: ignore[no-untyped-def]
    total = gain + loss
    if total == 0.0:
        return 50.0
    return 100.0 * (gain / total)


@numba.njit(numba.boolean(_real, numba.int64, _real, _out), **_OPTIONS)
def _rsi(close, period, powers, out):  # type: ignore[no-untyped-def]
    bars = len(close)
    out[: min(period, bars)] = np.nan
    if bars <= period:
        return True
    everything = np.sum(close)
    gain, loss = 0.0, 0.0
    for bar in range(1, period + 1):
        change = close[bar] - close[bar - 1]
        gain += max(change, 0.0)
        loss += max(-change, 0.0)
    gain /= period
    loss /= period
    out[period] = _share(gain, loss)
    size = len(powers)
    across = powers[size - 1]
    bar = period + 1
    while bar < bars:
        gains, losses = 0.0, 0.0
        inside_gain, inside_loss = 0.0, 0.0
        for step in range(min(size, bars - bar)):
            change = close[bar + step] - close[bar + step - 1]
            gains += (max(change, 0.0) / period) / powers[step]
            losses += (max(-change, 0.0) / period) / powers[step]
            inside_gain, inside_loss = gains * powers[step], losses * powers[step]
            out[bar + step] = _share(inside_gain + gain * powers[step], inside_loss + loss * powers[step])
        gain = gain * across + inside_gain
        loss = loss * across + inside_loss
        bar += size
    return np.isfinite(everything)


@numba.njit(numba.boolean(_real, _real, _real, numba.int64, _real, _out), **_OPTIONS)
def _atr(high, low, close, period, powers, out):  # type: ignore[no-untyped-def]
    bars = len(close)
    out[: min(period - 1, bars)] = np.nan
    if bars < period:
        return True
    everything = np.sum(high) + np.sum(low) + np.sum(close)
    total = high[0] - low[0]
    for bar in range(1, period):
        total += max(high[bar], close[bar - 1]) - min(low[bar], close[bar - 1])
    carried = total / period
    out[period - 1] = carried
    size = len(powers)
    across = powers[size - 1]
    bar = period
    while bar < bars:
        ranges, inside = 0.0, 0.0
        for step in range(min(size, bars - bar)):
            before = close[bar + step - 1]
            true_range = max(high[bar + step], before) - min(low[bar + step], before)
            ranges += (true_range / period) / powers[step]
            inside = ranges * powers[step]
            out[bar + step] = inside + carried * powers[step]
        carried = carried * across + inside
        bar += size
    return np.isfinite(everything)


@numba.njit(numba.void(_real, numba.int64, _out, _out), **_OPTIONS)
def _moments(close, period, middle, deviation):  # type: ignore[no-untyped-def]
    bars = len(close)
    middle[: min(period - 1, bars)] = np.nan
    deviation[: min(period - 1, bars)] = np.nan
    for start in range(period - 1, bars, _CHUNK):
        stop = min(start + _CHUNK, bars)
        mean, squares = middle[start:stop], deviation[start:stop]
        mean[:] = 0.0
        squares[:] = 0.0
        for offset in range(period):
            values = close[start - period + 1 + offset : stop - period + 1 + offset]
            for bar in range(len(mean)):
                mean[bar] += values[bar]
        for bar in range(len(mean)):
            mean[bar] /= period
        for offset in range(period):
            values = close[start - period + 1 + offset : stop - period + 1 + offset]
            for bar in range(len(mean)):
                distance = values[bar] - mean[bar]
                squares[bar] += distance * distance
        for bar in range(len(mean)):
            squares[bar] = np.sqrt(squares[bar] / period)


@numba.njit(numba.void(_real, _real, _real, numba.float64, numba.float64, _out), **_OPTIONS)
def _position(close, middle, deviation, deviations, flat, out):  # type: ignore[no-untyped-def]
    for bar in range(len(close)):
        away = deviations * deviation[bar]
        lower = middle[bar] - away
        width = (middle[bar] + away) - lower
        position = (close[bar] - lower) / width * 2 - 1
        out[bar] = position if width > flat * abs(close[bar]) else np.nan


@numba.njit(numba.void(_whole, numba.int64, _real, _whole, numba.int64, _out), **_OPTIONS)
def _last_known(known_ms, known_after, values, at_ms, at_after, out):  # type: ignore[no-untyped-def]
    known = 0
    for bar in range(len(at_ms)):
        while known < len(known_ms) and known_ms[known] + known_after <= at_ms[bar] + at_after:
            known += 1
        out[bar] = values[known - 1] if known else np.nan


@numba.njit(numba.void(_real, _real, _real, _real, numba.float64, _out), **_OPTIONS)
def _near_level(close, low, high, ratios, near_pct, out):  # type: ignore[no-untyped-def]
    for bar in range(len(close)):
        span = high[bar] - low[bar]
        reach = close[bar] * (near_pct / 100)
        near = False
        for ratio in ratios:
            near |= abs(close[bar] - (low[bar] + span * ratio)) <= reach
        out[bar] = 1.0 if near and span > 0 else 0.0


@numba.njit(numba.boolean(_real, numba.int64, _out), **_OPTIONS)
def _rolling_max(values, period, out):  # type: ignore[no-untyped-def]
    highest, left = values.copy(), len(values)
    span = 1
    while span < period:
        step = min(span, period - span)
        left -= step
        for bar in range(left):
            one, other = highest[bar], highest[bar + step]
            highest[bar] = one if one > other else other
        span += step
    out[: min(period - 1, len(values))] = np.nan
    for bar in range(left):
        out[bar + period - 1] = highest[bar]
    return not np.isnan(np.sum(values))


def _clean(values: FloatArray) -> FloatArray:
    return np.ascontiguousarray(values, dtype=np.float64)


def rsi(close: FloatArray, period: int = 14) -> FloatArray:
    """See the original."""
    out = np.empty(len(close))
    sound = _rsi(_clean(close), period, _powers(period), out)
    return out if sound else unwrap(originals.rsi)(close, period)


def atr(high: FloatArray, low: FloatArray, close: FloatArray, period: int = 14) -> FloatArray:
    """See the original."""
    out = np.empty(len(close))
    sound = _atr(_clean(high), _clean(low), _clean(close), period, _powers(period), out)
    return out if sound else unwrap(originals.atr)(high, low, close, period)


def bollinger_moments(close: FloatArray, period: int) -> tuple[FloatArray, FloatArray]:
    """See the original."""
    middle, deviation = np.empty(len(close)), np.empty(len(close))
    _moments(_clean(close), period, middle, deviation)
    return middle, deviation


def bollinger_position(close: FloatArray, period: int = 20, deviations: float = 2.0) -> FloatArray:
    """See the original."""
    out = np.empty(len(close))
    middle, deviation = originals.bollinger_moments(close, period)
    _position(_clean(close), middle, deviation, deviations, originals.FLAT, out)
    return out


def near_level(
    close: FloatArray, low: FloatArray, high: FloatArray, ratios: tuple[float, ...], near_pct: float
) -> FloatArray:
    """See the original."""
    out = np.empty(len(close))
    _near_level(_clean(close), _clean(low), _clean(high), np.array(ratios), near_pct, out)
    return out


def rolling_max(values: FloatArray, period: int) -> FloatArray:
    """See the original."""
    out = np.empty(len(values))
    sound = _rolling_max(_clean(values), period, out)
    return out if sound else unwrap(originals.rolling_max)(values, period)


def rolling_min(values: FloatArray, period: int) -> FloatArray:
    """See the original."""
    return -rolling_max(-values, period)


def as_of_open(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """See the original."""
    out = np.empty(len(own))
    _last_known(_times(other.start_ms), other.timeframe.ms, _clean(values), _times(own.start_ms), 0, out)
    return out


def as_of_close(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """See the original."""
    out = np.empty(len(own))
    own_ms, other_ms = own.timeframe.ms, other.timeframe.ms
    _last_known(_times(other.start_ms), other_ms, _clean(values), _times(own.start_ms), own_ms, out)
    return out


def funding_as_of_close(own: Candles, funding: Funding) -> FloatArray:
    """See the original."""
    out = np.empty(len(own))
    _last_known(_times(funding.time_ms), 0, _clean(funding.rate), _times(own.start_ms), own.timeframe.ms - 1, out)
    return out


def _times(values: IntArray) -> IntArray:
    return np.ascontiguousarray(values, dtype=np.int64)


TWINS = {
    twin.__name__: twin
    for twin in (
        rsi,
        atr,
        bollinger_moments,
        bollinger_position,
        near_level,
        rolling_max,
        rolling_min,
        as_of_open,
        as_of_close,
        funding_as_of_close,
    )
}
"""By the name of the original."""
