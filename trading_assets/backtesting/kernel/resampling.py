"""The compiled loop of the bootstrap: trades drawn again, and how often luck alone does as well.

Import this module only where it is needed: it imports numba, which costs a second.
"""

from __future__ import annotations

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.backtesting.kernel.machine_code import cached

_row = numba.types.Array(numba.float64, 1, "C", readonly=True)


@numba.njit(error_model="numpy")
def _t_statistic(total, squares, count):  # type: ignore[no-untyped-def]
    """Mean over standard deviation; infinite where all values are one, 0 where that is zero."""
    mean, second = total / count, squares / count
    variance = second - mean * mean
    # Less is what rounding leaves of equal values.
    if variance <= 1e-12 * second:
        return 0.0 if mean == 0 else np.copysign(np.inf, mean)
    return mean / np.sqrt(variance)


@cached(
    numba.int64(_row, numba.uint64, numba.int64), nogil=True, error_model="numpy"
)  # fmt: skip
def reaching(pnl, seed, resamples):  # type: ignore[no-untyped-def]
    """In how many of `resamples` draws of the trades less their mean the t statistic reaches that of the trades.

    Numbers come from SplitMix64 (Steele, Lea and Flood 2014); their upper 32 bits times the count of trades, shifted
    (Lemire 2019), are places: no place is likelier than another by more than one part in 2^32 / count.
    """
    count = len(pnl)
    mean = np.sum(pnl) / count
    centred = pnl - mean
    wanted = _t_statistic(np.sum(pnl), np.sum(pnl * pnl), count)
    state, places = np.uint64(seed), np.uint64(count)
    reached = 0
    for _ in range(resamples):
        total, squares = 0.0, 0.0
        for _ in range(count):
            state += np.uint64(0x9E3779B97F4A7C15)
            mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
            drawn = centred[((mixed >> np.uint64(32)) * places) >> np.uint64(32)]
            total += drawn
            squares += drawn * drawn
        reached += _t_statistic(total, squares, count) >= wanted
    return reached
