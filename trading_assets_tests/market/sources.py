"""Sources of candles for the tests: computed, counted, and silent about what has not closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import Instrument, Rows
from trading_assets.core.timeframes import HOUR_MS, Timeframe

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z

Call = tuple[str, str, int, int]


def candles_of(symbol: str, timeframe: Timeframe, starts: Sequence[int]) -> Candles:
    """Candles that depend on symbol, timeframe and time alone."""
    start_ms = np.array(starts, dtype=np.int64)
    phase = start_ms / timeframe.ms + len(symbol) * 7.0
    open_ = 100 + np.sin(phase)
    close = 100 + np.sin(phase + 1)
    return Candles(
        timeframe,
        start_ms,
        open_,
        np.maximum(open_, close) + 0.5,
        np.minimum(open_, close) - 0.5,
        close,
        10 + np.cos(phase),
        (10 + np.cos(phase)) * 100,
    )


class CountingSource:
    """`MarketData` of computed candles. `has(symbol, start_ms)` says which candles the exchange has at all."""

    def __init__(
        self,
        now_ms: int,
        *,
        has: Callable[[str, int], bool] = lambda _symbol, _start: True,
        listed: Sequence[Instrument] = (),
        candles: Callable[[str, Timeframe, Sequence[int]], Candles] = candles_of,
    ) -> None:
        self.time_ms = now_ms
        self.finest = Timeframe.M1
        self.calls: list[Call] = []
        self._has, self._listed, self._candles = has, list(listed), candles
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return self.time_ms

    def finest_timeframe(self) -> Timeframe:
        return self.finest

    def instruments(self) -> Rows[Instrument]:
        return Rows(self._listed)

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        with self._lock:
            self.calls.append((symbol, timeframe.value, start_ms, end_ms))
        step = timeframe.ms
        starts = range(-(-start_ms // step) * step, min(end_ms, self.time_ms - step + 1), step)
        return self._candles(symbol, timeframe, [s for s in starts if self._has(symbol, s)])

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        with self._lock:
            self.calls.append((symbol, "funding", start_ms, end_ms))
        times = np.array(
            [t for t in range(-(-start_ms // (8 * HOUR_MS)) * 8 * HOUR_MS, end_ms, 8 * HOUR_MS) if t <= self.time_ms],
            dtype=np.int64,
        )
        return Funding(times, np.sin(times / HOUR_MS) * 1e-4)

    def asked(self, symbol: str, timeframe: Timeframe) -> list[tuple[int, int]]:
        return [(low, high) for of, name, low, high in self.calls if (of, name) == (symbol, timeframe.value)]
