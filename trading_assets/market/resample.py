"""Coarser candles from finer ones. Only whole, closed candles come out."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import Timeframe


def resample(candles: Candles, timeframe: Timeframe, closed_by_ms: int) -> Candles:
    """Candles of `timeframe` that had ended at `closed_by_ms`; missing minutes of the input are not counted.

    Raises:
        DataError: `timeframe` is not a multiple of the input's.
    """
    if timeframe.ms % candles.timeframe.ms:
        raise DataError(f"{timeframe.value} is not a multiple of {candles.timeframe.value}")
    candles = candles.closed_by(closed_by_ms - closed_by_ms % timeframe.ms)
    if not len(candles):
        return Candles.empty(timeframe)
    slots = candles.start_ms // timeframe.ms
    starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    ends = np.append(starts[1:], len(slots)) - 1
    return Candles(
        timeframe,
        slots[starts] * timeframe.ms,
        candles.open[starts],
        np.maximum.reduceat(candles.high, starts),
        np.minimum.reduceat(candles.low, starts),
        candles.close[ends],
        np.add.reduceat(candles.volume, starts),
        np.add.reduceat(candles.turnover, starts),
    )
