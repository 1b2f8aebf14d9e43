"""The minutes inside recorded candles: a path that opens, turns and closes where the candle did. No aggregation here.

The path runs from the open over both extremes, at drawn moments and in a drawn order, to the close, with a noise that
never leaves the range. Whole numbers make it exact: the minutes' open, high, low, close, volume and turnover aggregate
to the candle's own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trading_assets.simulator.market.minutes import MINUTES, DayOfMinutes
from trading_assets.simulator.market.noise import Floats, Words, exponentials, normals, uniforms, words_at
from trading_assets.simulator.market.recorded_candles import RecordedCandles

Ticks = npt.NDArray[np.int32]

_WIGGLE = 0.3
"""Standard deviation of the noise half way, over the candle's range."""

_WICK = 0.12
_NEWTON_STEPS = 4
_AGAINST_FIRST = 0.75
"""So often a candle visits first the extreme that lies behind its way."""


def minutes_of_day(recorded: RecordedCandles, of: int, day: int) -> DayOfMinutes:
    """Day `day` (since 1970-01-01) of recorded candles; `of` is the stream of its symbol.

    Minutes without a candle are flat at the close before them (before the first candle, at its open).
    """
    begin = day * MINUTES
    words = words_at(of, day, 6 * MINUTES).reshape(6, MINUTES)
    part = recorded.part(begin, begin + MINUTES)
    starts, lengths = recorded.start[part] - begin, recorded.length[part]
    prices, sums = recorded.rows.prices[:, part], recorded.rows.sums[:, part]
    table = np.zeros((6, MINUTES), dtype=np.int64)
    present = np.zeros(MINUTES, dtype=bool)
    for length in np.unique(lengths).tolist():
        which = lengths == length
        places = (starts[which][:, None] + np.arange(length)).ravel()
        present[places] = True
        if length == 1:
            table[:4, places], table[4:, places] = prices[:, which], sums[:, which]
        else:
            drawn = words[:, places].reshape(6, -1, length)
            table[:, places] = _expanded(prices[:, which], sums[:, which], drawn, recorded.unit).reshape(6, -1)
    if not present.all():
        before = recorded.rows.prices[3, part.start - 1] if part.start else recorded.rows.prices[0, 0]
        latest = np.maximum.accumulate(np.where(present, np.arange(MINUTES), -1))
        table[:4, ~present] = np.where(latest < 0, before, table[3, latest])[~present]
    opens, highs, lows, closes = table[:4].astype(np.int32)
    return DayOfMinutes(opens, highs, lows, closes, table[4].copy(), table[5].copy(), words[4].copy())


def _expanded(prices: Ticks, sums: npt.NDArray[np.int64], words: Words, unit: float) -> npt.NDArray[np.int64]:
    """The minutes of candles: prices (4, k), sums (2, k) and words (6, k, length) to shape (6, k, length)."""
    length = words.shape[2]
    opens, tops, bottoms, closes = prices.astype(np.float64)[:, :, None]
    size = tops - bottoms
    # Candles of three minutes or more have a word for the order and two for the moments of the extremes.
    rising_first = uniforms(words[5, :, :1]) < _AGAINST_FIRST
    low_first = rising_first == (closes >= opens)
    moments = np.sort(uniforms(words[5, :, 1:3]), axis=1)
    first, second = length * (0.02 + 0.9 * moments[:, :1]), length * (0.06 + 0.9 * moments[:, 1:])
    turns = np.where(low_first, bottoms, tops), np.where(low_first, tops, bottoms)

    at = np.arange(1, length, dtype=np.float64)[None, :]
    edges = np.where(
        at <= first,
        opens + (turns[0] - opens) * at / first,
        np.where(
            at <= second,
            turns[0] + (turns[1] - turns[0]) * (at - first) / (second - first),
            turns[1] + (closes - turns[1]) * (at - second) / (length - second),
        ),
    )
    walk = np.cumsum(normals(words[0]), axis=1)
    bridge = (walk[:, :-1] - walk[:, -1:] * at / length) * (2.0 * _WIGGLE / np.sqrt(length))
    inner = np.clip(np.rint(edges + bridge * size * 0.5), bottoms, tops)
    begins = np.concatenate([opens, inner], axis=1)
    ends = np.concatenate([inner, closes], axis=1)

    wick = _WICK * size
    highs = np.minimum(np.maximum(begins, ends) + np.rint(wick * exponentials(words[1])), tops)
    lows = np.maximum(np.minimum(begins, ends) - np.rint(wick * exponentials(words[2])), bottoms)
    rows = np.arange(len(highs))
    turn_minutes = first[:, 0].astype(np.int64), second[:, 0].astype(np.int64)
    highs[rows, np.where(low_first[:, 0], turn_minutes[1], turn_minutes[0])] = tops[:, 0]
    lows[rows, np.where(low_first[:, 0], turn_minutes[0], turn_minutes[1])] = bottoms[:, 0]

    typical = 0.25 * (begins + highs + lows + ends)
    whole = sums[0][:, None]
    weights = exponentials(words[3]) * (0.5 + (highs - lows) / np.maximum(size, 1.0)) + 1e-3
    weights = _tilted(weights, typical, sums[1][:, None] / (np.maximum(whole, 1) * unit))
    # A minute in which the price moves has a trade, as far as there are enough steps for all.
    least = np.where(whole >= length, 1, 0)
    volumes = least + _shared(whole - least * length, weights)
    turnovers = _shared(sums[1][:, None], volumes * typical)
    # Sums never pass through floats, which hold whole numbers only up to 2**53.
    return np.stack([*(of.astype(np.int64) for of in (begins, highs, lows, ends)), volumes, turnovers])


def _tilted(weights: Floats, values: Floats, mean: Floats) -> Floats:
    """Weights whose weighted mean of `values` is near `mean` (k, 1), as far as their range allows: most is traded
    where the candle's average price says. Newton's method on an exponential tilt, a few steps.
    """
    centre = values.mean(axis=1, keepdims=True)
    scale = np.maximum(values.std(axis=1, keepdims=True), 1e-9)
    places, target = (values - centre) / scale, np.clip((mean - centre) / scale, -1.5, 1.5)
    for _ in range(_NEWTON_STEPS):
        total = weights.sum(axis=1, keepdims=True)
        found = (weights * places).sum(axis=1, keepdims=True) / total
        spread = (weights * (places - found) ** 2).sum(axis=1, keepdims=True) / total
        weights = weights * np.exp(np.clip((target - found) / np.maximum(spread, 0.05), -1.0, 1.0) * places)
    return weights


def _shared(totals: npt.NDArray[np.int64], weights: Floats) -> npt.NDArray[np.int64]:
    """Whole numbers in proportion to `weights` (k, n) that sum to `totals` (k, 1) exactly."""
    shares = np.cumsum(weights, axis=1)
    until = np.floor(totals * (shares / np.maximum(shares[:, -1:], 1e-300))).astype(np.int64)
    until[:, -1:] = totals
    return np.diff(until, axis=1, prepend=0)
