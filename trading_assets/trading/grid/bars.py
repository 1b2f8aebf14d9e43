"""Bars that a grid is simulated on: candles, finer ones below them where there are any, or the legs of a path. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_assets.core.candles import BoolArray, Candles, FloatArray, IntArray


@dataclass(frozen=True)
class Bars:
    """What the price did, ascending, each array of shape (n,).

    Attributes:
        end_ms: when a bar's close is known, UTC ms; two may be the same where they are legs of one candle.
    """

    start_ms: IntArray
    end_ms: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray

    def __len__(self) -> int:
        return len(self.end_ms)


def bars_of(candles: Candles, detail: Candles | None = None) -> Bars:
    """Candles as bars. A candle all of whose `detail` candles are there is replaced by these.

    Args:
        detail: of a shorter timeframe; those outside of the candles are left out.
    """
    columns = (candles.start_ms, candles.end_ms, candles.open, candles.high, candles.low, candles.close)
    if detail is None or not len(detail) or not len(candles):
        return Bars(*columns)
    of = candles.start_ms.searchsorted(detail.start_ms, "right") - 1
    inside = (of >= 0) & (detail.start_ms < candles.end_ms[of.clip(0)])
    parts = candles.timeframe.ms // detail.timeframe.ms
    is_whole = np.bincount(of[inside], minlength=len(candles)) == parts
    fine: BoolArray = inside & is_whole[of.clip(0)]
    finer = (detail.start_ms, detail.end_ms, detail.open, detail.high, detail.low, detail.close)
    order = np.argsort(np.concatenate([candles.start_ms[~is_whole], detail.start_ms[fine]]), kind="stable")
    return Bars(
        *(np.concatenate([coarse[~is_whole], part[fine]])[order] for coarse, part in zip(columns, finer, strict=True))
    )


def legs_of(bars: Bars) -> Bars:
    """Three legs in place of each bar: from its open to one extreme, to the other, to its close.

    A bar that rises visits its low first, one that falls its high: the way that is right more often than not. Within a
    leg nothing is open to question, so that this is one path of those that the bars allow.
    """
    first = np.where(bars.close >= bars.open, bars.low, bars.high)
    second = np.where(bars.close >= bars.open, bars.high, bars.low)
    begins = np.stack([bars.open, first, second], axis=1).ravel()
    ends = np.stack([first, second, bars.close], axis=1).ravel()
    return Bars(
        np.repeat(bars.start_ms, 3),
        np.repeat(bars.end_ms, 3),
        begins,
        np.maximum(begins, ends),
        np.minimum(begins, ends),
        ends,
    )
