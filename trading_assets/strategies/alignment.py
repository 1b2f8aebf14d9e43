"""Values of other candles and of funding, brought onto the own bars without looking ahead."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.strategies.indicator_cache import shared


@shared
def as_of_open(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """For each own bar the value of the last `other` candle that had ended when the own bar opened; NaN if none."""
    return _taken(values, _last_ended_at_open(own, other))


@shared
def as_of_close(own: Candles, other: Candles, values: FloatArray) -> FloatArray:
    """For each own bar the value of the last `other` candle that had ended by the own bar's close; NaN if none."""
    return _taken(values, _last_ended_at_close(own, other))


@shared
def funding_as_of_close(own: Candles, funding: Funding) -> FloatArray:
    """For each own bar the last funding rate paid before its close, fraction of notional; NaN if none.

    A rate paid at the very close is not known yet: a partition, and the live finder, read what came before its end.
    """
    return _taken(funding.rate, funding.time_ms.searchsorted(own.end_ms))


# Apart from the values, so that a sweep searches once for all values of the same candles.


@shared
def _last_ended_at_open(own: Candles, other: Candles) -> IntArray:
    return other.end_ms.searchsorted(own.start_ms, side="right")


@shared
def _last_ended_at_close(own: Candles, other: Candles) -> IntArray:
    return other.end_ms.searchsorted(own.end_ms, side="right")


def _taken(values: FloatArray, known: IntArray) -> FloatArray:
    """For each own bar the last of its `known` first values, shape (..., n); NaN where that is 0. `known` ascends."""
    if not values.shape[-1]:
        return np.full((*values.shape[:-1], len(known)), np.nan)
    # Clipped, numpy does not look for places out of range first: three times as fast as an index.
    out = values.astype(np.float64, copy=False).take(known - 1, axis=-1, mode="clip")
    out[..., : int(known.searchsorted(1))] = np.nan
    return out
