"""Values of other candles and of funding, brought onto the own bars without looking ahead."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.strategies.indicator_cache import shared


@shared
def as_of_open(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """For each own bar the value of the last `other` candle that had ended when the own bar opened; NaN if none."""
    return _last_known(other.end_ms, values, own.start_ms)


@shared
def as_of_close(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """For each own bar the value of the last `other` candle that had ended by the own bar's close; NaN if none."""
    return _last_known(other.end_ms, values, own.end_ms)


@shared
def funding_as_of_close(own: Candles, funding: Funding) -> FloatArray:
    """For each own bar the last funding rate paid before its close, fraction of notional; NaN if none.

    A rate paid at the very close is not known yet: a partition, and the live finder, read what came before its end.
    """
    return _last_known(funding.time_ms, funding.rate, own.end_ms - 1)


def _last_known(known_ms: IntArray, values: FloatArray, at_ms: IntArray) -> FloatArray:
    index = np.searchsorted(known_ms, at_ms, side="right") - 1
    out = np.full(len(at_ms), np.nan)
    found = index >= 0
    out[found] = values[index[found]]
    return out
