"""How far a perpetual trades from its index, and the candles of mark price, index price and premium. No trades here.

Mark and index are weighted sums of the last price now and in the minutes before, so their candles are made of the
minutes' candles: opens and closes exactly, extremes to the accuracy of a minute.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, Bars
from trading_assets.simulator.market.noise import Floats, drift_at

SMOOTHING = (0.4, 0.3, 0.2, 0.1)
"""Weights of the last price now, one, two and three minutes ago in the smooth price."""

MARK_SHARE = 0.6
"""Share of the smooth price in the mark price; the rest is the last price."""

_PARTS = ((2.5e-4, 8 * HOUR_MS), (1e-4, 30 * MINUTE_MS))
"""Size and pace of the premium's two parts."""

Series = Callable[[Bars], tuple[Floats, Floats, Floats, Floats]]
"""Open, high, low and close of each of the minutes that are given."""


def premium_at(of: int, time_ms: int) -> float:
    """Log distance of the smooth price from its index; `of` is the stream of the index."""
    return sum(size * drift_at(of + number, time_ms / pace) for number, (size, pace) in enumerate(_PARTS))


def premiums_at(of: int, times_ms: Floats) -> Floats:
    """`premium_at` of many times, shape (n,)."""
    total = np.zeros(len(times_ms))
    for number, (size, pace) in enumerate(_PARTS):
        places = times_ms / pace
        knots = np.arange(int(places.min()), int(places.max()) + 2)
        total += size * np.interp(places, knots, [drift_at(of + number, knot) for knot in knots.tolist()])
    return total


def marks(minutes: Bars) -> tuple[Floats, Floats, Floats, Floats]:
    """The mark price's minutes, quote coin, before rounding to the tick."""
    opens, highs, lows, closes = _smoothed(minutes)
    rest = 1.0 - MARK_SHARE
    return (
        MARK_SHARE * opens + rest * minutes[:, OPEN],
        MARK_SHARE * highs + rest * minutes[:, HIGH],
        MARK_SHARE * lows + rest * minutes[:, LOW],
        MARK_SHARE * closes + rest * minutes[:, CLOSE],
    )


def indices(minutes: Bars, of: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The index price's minutes, quote coin."""
    opens, highs, lows, closes = _smoothed(minutes)
    begin = np.exp(-premiums_at(of, minutes[:, START]))
    end = np.exp(-premiums_at(of, minutes[:, START] + (MINUTE_MS - 1)))
    middle = 0.5 * (begin + end)
    return opens * begin, highs * middle, lows * middle, closes * end


def reference_candles(minutes: Bars, series: Series, edges: npt.NDArray[np.int64]) -> Bars:
    """Candles of shape (n, 5): start, open, high, low, close; one for each pair of `edges` that holds minutes.

    `minutes` may begin earlier than the first edge: what came before flows into the smoothing.
    """
    opens, highs, lows, closes = series(minutes)
    highs, lows = np.maximum(highs, np.maximum(opens, closes)), np.minimum(lows, np.minimum(opens, closes))
    bounds = np.searchsorted(minutes[:, START], edges)
    first, end = bounds[:-1], bounds[1:]
    held = first < end
    first, end = first[held], end[held]
    if not len(first):
        return np.empty((0, 5))
    stop = int(end[-1])
    return np.column_stack(
        [
            edges[:-1][held].astype(np.float64),
            opens[first],
            np.maximum.reduceat(highs[:stop], first),
            np.minimum.reduceat(lows[:stop], first),
            closes[end - 1],
        ]
    )


def _smoothed(minutes: Bars) -> tuple[Floats, Floats, Floats, Floats]:
    """Of the smooth price; an extreme is met in the middle of what the minutes before did."""
    opens, closes = minutes[:, OPEN], minutes[:, CLOSE]
    before = _weighted(0.5 * (opens + closes), first=1)
    return (
        _weighted(opens),
        SMOOTHING[0] * minutes[:, HIGH] + before,
        SMOOTHING[0] * minutes[:, LOW] + before,
        _weighted(closes),
    )


def _weighted(values: Floats, first: int = 0) -> Floats:
    """The smoothing's sum over each minute and those before, from `first` minutes ago on."""
    total = np.zeros(len(values))
    for ago in range(first, len(SMOOTHING)):
        total += SMOOTHING[ago] * _earlier(values, ago)
    return total


def _earlier(values: Floats, ago: int) -> Floats:
    """Each minute's value `ago` rows before; the first one stands for all before it."""
    return np.concatenate([np.full(min(ago, len(values)), values[0]), values[: max(len(values) - ago, 0)]])
