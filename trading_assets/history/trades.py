"""Candles of a minute made of single trades, piece by piece: a month of trades never lies in memory."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS
from trading_assets.history.rows import COLUMNS

_MINUTE_US = 60_000_000
_PRICES = ("open", "high", "low", "close")


class MinuteCandles:
    """Trades in, minutes out. Pieces may overlap in time; trades of one moment count in the order of the file."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, IntArray, IntArray, FloatArray]] = []
        self.trades = 0

    def add(self, time_us: IntArray, price: FloatArray, size: FloatArray) -> None:
        """Add trades: UTC us, quote coin, base coin; shape (n,)."""
        if not len(time_us):
            return
        self.trades += len(time_us)
        if np.any(np.diff(time_us) < 0):
            order = np.argsort(time_us, kind="stable")
            time_us, price, size = time_us[order], price[order], size[order]
        minute = time_us // _MINUTE_US
        first = np.flatnonzero(np.diff(minute, prepend=minute[0] - 1))
        last = np.append(first[1:], len(minute)) - 1
        values = np.stack(
            [
                price[first],
                np.maximum.reduceat(price, first),
                np.minimum.reduceat(price, first),
                price[last],
                np.add.reduceat(size, first),
                np.add.reduceat(price * size, first),
            ]
        )
        self._parts.append((minute[first], time_us[first], time_us[last], values))

    def finish(self) -> tuple[dict[str, np.ndarray], int]:
        """The candles as columns, and how many of them are minutes without a trade, flat at the close before."""
        if not self._parts:
            return {name: np.empty(0, dtype=np.int64 if name == "start_ms" else np.float64) for name in COLUMNS}, 0
        minute, first_us, last_us = (np.concatenate([part[at] for part in self._parts]) for at in range(3))
        values = np.concatenate([part[3] for part in self._parts], axis=1)
        order = np.lexsort((first_us, minute))
        late = np.lexsort((np.arange(len(minute)), last_us, minute))
        starts = np.flatnonzero(np.diff(minute[order], prepend=minute[order[0]] - 1))
        ends = np.append(starts[1:], len(minute)) - 1
        of_minute = values[:, order]
        bars = np.stack(
            [
                of_minute[0][starts],
                np.maximum.reduceat(of_minute[1], starts),
                np.minimum.reduceat(of_minute[2], starts),
                values[3][late][ends],
                np.add.reduceat(of_minute[4], starts),
                np.add.reduceat(of_minute[5], starts),
            ]
        )
        return _with_quiet_minutes(minute[order][starts], bars)


def _with_quiet_minutes(minute: IntArray, bars: FloatArray) -> tuple[dict[str, np.ndarray], int]:
    every = np.arange(int(minute[0]), int(minute[-1]) + 1)
    place = np.searchsorted(minute, every, side="right") - 1
    traded = minute[place] == every
    columns: dict[str, np.ndarray] = {"start_ms": every * MINUTE_MS}
    for row, name in enumerate(COLUMNS[1:]):
        columns[name] = np.where(traded, bars[row][place], bars[3][place] if row < len(_PRICES) else 0.0)
    return columns, int((~traded).sum())


def quiet_minutes(after_ms: int, close: float, until_ms: int) -> dict[str, np.ndarray]:
    """Candles from `after_ms` until before `until_ms` in which nothing was traded, flat at `close`.

    They are those before a file's first trade. Of more than a day nobody can say so: none are made.
    """
    there = 0 < until_ms - after_ms <= DAY_MS
    starts = np.arange(after_ms, until_ms, MINUTE_MS) if there else np.empty(0, dtype=np.int64)
    flat = {name: np.full(len(starts), close) for name in _PRICES}
    return {"start_ms": starts, **flat, "volume": np.zeros(len(starts)), "turnover": np.zeros(len(starts))}
