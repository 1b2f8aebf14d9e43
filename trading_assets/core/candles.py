"""Candles and funding of one symbol as arrays. No fetching and no storing here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from trading_assets.core.timeframes import DAY_MS, Timeframe

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FUNDING = "funding"
"""Stands for a timeframe where funding payments are among the candles."""

CandleFaults = Mapping[tuple[str, str], str]
"""What is wrong with the candles of a timeframe (its value, or `FUNDING`) and symbol."""

DeepFaults = Mapping[tuple[str, str], Mapping[int, str | None]]
"""What is wrong with older candles that some strategies alone read, by how far back of the as-of they read, ms: none
where they are good."""


def data_name(timeframe: str, symbol: str) -> str:
    """`15m candles of AUSDT`, `funding of AUSDT`."""
    return f"{FUNDING} of {symbol}" if timeframe == FUNDING else f"{timeframe} candles of {symbol}"


ENDED_BEFORE_MS = DAY_MS
"""A coin of recorded history that was not traded so long before the newest candle of all has ended, unless a list of
contracts says otherwise."""


@dataclass(frozen=True)
class Candles:
    """Candles of one symbol and timeframe, ascending in `start_ms`, each array of shape (n,).

    Attributes:
        start_ms: open time of each candle, UTC ms.
        volume: in base coin.
        turnover: in quote coin (USDT).
    """

    timeframe: Timeframe
    start_ms: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    turnover: FloatArray

    def __len__(self) -> int:
        return len(self.start_ms)

    @property
    def end_ms(self) -> IntArray:
        """Close time of each candle (exclusive), UTC ms."""
        return self.start_ms + self.timeframe.ms

    @classmethod
    def empty(cls, timeframe: Timeframe) -> Self:
        none = np.empty(0, dtype=np.float64)
        return cls(timeframe, np.empty(0, dtype=np.int64), none, none, none, none, none, none)

    def protect(self) -> None:
        """Let nobody write into the arrays, as these views have them."""
        for column in (self.start_ms, self.open, self.high, self.low, self.close, self.volume, self.turnover):
            column.flags.writeable = False

    def select(self, index: slice | IntArray | BoolArray) -> Candles:
        """The candles at `index`, same order."""
        return Candles(
            self.timeframe,
            self.start_ms[index],
            self.open[..., index],
            self.high[..., index],
            self.low[..., index],
            self.close[..., index],
            self.volume[..., index],
            self.turnover[..., index],
        )

    def between(self, start_ms: int, end_ms: int) -> Candles:
        """Candles that start in [start_ms, end_ms)."""
        starts = self.start_ms
        return self.select(slice(int(starts.searchsorted(start_ms)), int(starts.searchsorted(end_ms))))

    def closed_by(self, time_ms: int) -> Candles:
        """Candles that had ended at `time_ms`."""
        return self.select(slice(0, int(self.start_ms.searchsorted(time_ms - self.timeframe.ms, "right"))))


@dataclass(frozen=True)
class Funding:
    """Funding payments of one symbol, ascending. `rate` is the fraction of notional that longs pay shorts."""

    time_ms: IntArray
    rate: FloatArray

    def __len__(self) -> int:
        return len(self.time_ms)

    @classmethod
    def empty(cls) -> Self:
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))

    def protect(self) -> None:
        """Let nobody write into the arrays, as these views have them."""
        self.time_ms.flags.writeable = self.rate.flags.writeable = False

    def between(self, start_ms: int, end_ms: int) -> Self:
        """Payments at times in [start_ms, end_ms)."""
        low, high = np.searchsorted(self.time_ms, [start_ms, end_ms])
        return type(self)(self.time_ms[low:high], self.rate[low:high])
