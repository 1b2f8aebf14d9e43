"""Means of parts of an array, to the last bit those that numpy gives of each part by itself.

Import it only where a simulation begins: it imports numba.
"""

from __future__ import annotations

import numpy as np

from trading_assets.backtesting.kernel.loops import compiled
from trading_assets.core.candles import FloatArray, IntArray

_BLOCK = 128
"""So many numbers numpy adds up in one go, eight sums side by side; more are halved first."""

_LANES = 8

_DEEPEST = 128
"""Twice as many halvings as a number of trades can have."""


@compiled
def _added(values, begin, count):  # type: ignore[no-untyped-def]
    """The sum of one block of at most `_BLOCK` numbers."""
    if count < _LANES:
        total = 0.0
        for place in range(begin, begin + count):
            total += values[place]
        return total
    a, b, c, d = values[begin], values[begin + 1], values[begin + 2], values[begin + 3]
    e, f, g, h = values[begin + 4], values[begin + 5], values[begin + 6], values[begin + 7]
    whole = begin + count - count % _LANES
    for place in range(begin + _LANES, whole, _LANES):
        a += values[place]
        b += values[place + 1]
        c += values[place + 2]
        d += values[place + 3]
        e += values[place + 4]
        f += values[place + 5]
        g += values[place + 6]
        h += values[place + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for place in range(whole, begin + count):
        total += values[place]
    return total


@compiled
def _summed(values, count, waiting, sums):  # type: ignore[no-untyped-def]
    """The sum of the first `count` numbers, halved as numpy halves them (pairwise summation).

    A function that calls itself crashes where numba takes it from its cache, so what waits is on stacks.
    """
    depth, done = 1, 0
    waiting[0, 0], waiting[0, 1] = 0, count
    while depth:
        depth -= 1
        begin, length = waiting[depth]
        if length < 0:
            done -= 1
            sums[done - 1] += sums[done]
        elif length <= _BLOCK:
            sums[done] = _added(values, begin, length)
            done += 1
        else:
            half = length // 2
            half -= half % _LANES
            waiting[depth, 1] = -1
            waiting[depth + 1, 0], waiting[depth + 1, 1] = begin + half, length - half
            waiting[depth + 2, 0], waiting[depth + 2, 1] = begin, half
            depth += 3
    return sums[0]


@compiled
def _mean_multiples(  # type: ignore[no-untyped-def]
    gains, risks, notional, starts, counts, room, waiting, sums, means
):
    """See `mean_multiples`."""
    for part in range(len(starts)):
        count = counts[part]
        for place in range(count):
            trade = starts[part] + place
            room[place] = gains[trade] / (risks[trade] * notional)
        means[part] = _summed(room, count, waiting, sums) / count if count else np.nan


def mean_multiples(
    gains: FloatArray, risks: FloatArray, notional: float, starts: IntArray, counts: IntArray
) -> FloatArray:
    """`metrics.mean_r` of parts of many trades, shape (parts,).

    Args:
        gains, risks: PnL in USD and risk as a fraction of `notional`, shape (trades,).
        starts, counts: the first trade and the number of trades of each part, shape (parts,).
    """
    means, room = np.empty(len(starts)), np.empty(int(counts.max(initial=0)))
    waiting, sums = np.empty((_DEEPEST, 2), dtype=np.int64), np.empty(_DEEPEST)
    _mean_multiples(gains, risks, notional, starts, counts, room, waiting, sums, means)
    return means
