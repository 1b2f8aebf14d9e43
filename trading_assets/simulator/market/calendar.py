"""Where the candles of each of Bybit's intervals begin and end (UTC). No prices here."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, to_datetime, to_ms

_STEPS_MS = {str(minutes): minutes * MINUTE_MS for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}
_STEPS_MS |= {"D": DAY_MS, "W": 7 * DAY_MS}
_MONDAY_MS = 4 * DAY_MS
"""1970-01-05. Weeks start on Mondays."""

INTERVALS = (*_STEPS_MS, "M")


def start_of(interval: str, time_ms: int) -> int:
    """Start of the candle that holds `time_ms`. An interval outside `INTERVALS` is a KeyError."""
    if interval == "M":
        return _month_ms(_month_of(time_ms))
    step = _STEPS_MS[interval]
    return time_ms - (time_ms - _anchor(interval)) % step


def edges_of(interval: str, first_ms: int, last_ms: int) -> npt.NDArray[np.int64]:
    """Starts of all candles that start in [first_ms, last_ms], and the end of the last one; empty if there is none.

    An interval outside `INTERVALS` is a KeyError.
    """
    if first_ms > last_ms:
        return np.empty(0, dtype=np.int64)
    if interval == "M":
        months = range(_month_of(first_ms - 1) + 1, _month_of(last_ms) + 2)
        return np.array([_month_ms(month) for month in months] if len(months) > 1 else [], dtype=np.int64)
    step = _STEPS_MS[interval]
    start = start_of(interval, first_ms + step - 1)
    if start > last_ms:
        return np.empty(0, dtype=np.int64)
    return start + step * np.arange((last_ms - start) // step + 2, dtype=np.int64)


def _anchor(interval: str) -> int:
    return _MONDAY_MS if interval == "W" else 0


def _month_of(time_ms: int) -> int:
    """Months since year 0."""
    moment = to_datetime(time_ms)
    return moment.year * 12 + moment.month - 1


def _month_ms(month: int) -> int:
    return to_ms(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC))
