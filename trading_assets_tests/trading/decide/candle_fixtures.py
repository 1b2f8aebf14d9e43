"""Candles and a strategy whose decision a test dictates."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values

BARS = 40


def candles(timeframe: Timeframe, last_close_ms: int, price: float = 100.0, bars: int = BARS) -> Candles:
    """Flat candles with a range of one percent; the newest closed at `last_close_ms`."""
    starts = last_close_ms - timeframe.ms * np.arange(bars, 0, -1, dtype=np.int64)
    flat = np.full(bars, price)
    return Candles(timeframe, starts, flat, flat * 1.005, flat * 0.995, flat, flat, flat * 1000)


class Dictated(Strategy):
    """Enters on the newest bar: "long", "short" or "" (not at all); or raises what it is given."""

    name = "dictated"
    description = "for tests"

    def __init__(self, side: str = "long", error: Exception | None = None, confidence: float = 75.0) -> None:
        super().__init__()
        self.side, self.error, self.confidence = side, error, confidence

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if self.error is not None:
            raise self.error
        bars = len(data.candles)
        return {"rsi": np.full(bars, 25.0), "btc_trend": np.full(bars, 1.0), "funding_rate": np.full(bars, np.nan)}

    def entries(self, v: Values, p: Parameters) -> Entries:
        last = np.arange(len(v.close)) == len(v.close) - 1
        return Entries(last & (self.side == "long"), last & (self.side == "short"), self.confidence)
