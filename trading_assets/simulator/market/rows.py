"""Consecutive minutes, or quarters of an hour, in whole numbers, and their aggregation. Sums are exact here.

Whatever the grouping, the same minutes give the same candle: prices are ticks, volumes quantity steps, turnovers
ten-thousandths of the quote coin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, TURNOVER, VOLUME, Bars
from trading_assets.simulator.market.grid import TURNOVER_UNIT, Grid
from trading_assets.simulator.market.minutes import MINUTES, DayOfMinutes

QUARTER_MINUTES = 15
QUARTERS = MINUTES // QUARTER_MINUTES


@dataclass(frozen=True)
class Rows:
    """Consecutive bars of one length.

    Attributes:
        prices: open, high, low, close in ticks, int32, shape (4, n).
        sums: volume and turnover, int64, shape (2, n).
    """

    prices: npt.NDArray[np.int32]
    sums: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return self.prices.shape[1]

    def part(self, first: int, end: int) -> Rows:
        return Rows(self.prices[:, first:end], self.sums[:, first:end])

    def grouped(self, starts: npt.NDArray[np.int64]) -> Rows:
        """One row for the rows from each of `starts` (ascending, the first is 0) to the next."""
        ends = np.append(starts[1:], len(self)) - 1
        prices = np.empty((4, len(starts)), dtype=np.int32)
        prices[0] = self.prices[0, starts]
        prices[1] = np.maximum.reduceat(self.prices[1], starts)
        prices[2] = np.minimum.reduceat(self.prices[2], starts)
        prices[3] = self.prices[3, ends]
        return Rows(prices, np.add.reduceat(self.sums, starts, axis=1))

    def bars(self, grid: Grid, starts_ms: npt.NDArray[np.int64]) -> Bars:
        table = np.empty((len(self), 7))
        table[:, START] = starts_ms
        for column, ticks in zip((OPEN, HIGH, LOW, CLOSE), self.prices, strict=True):
            table[:, column] = grid.prices(ticks)
        table[:, VOLUME] = grid.quantities(self.sums[0])
        table[:, TURNOVER] = self.sums[1] / TURNOVER_UNIT
        return table


EMPTY = Rows(np.empty((4, 0), dtype=np.int32), np.empty((2, 0), dtype=np.int64))
_QUARTER_STARTS = np.arange(0, MINUTES, QUARTER_MINUTES)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, in their order."""
    if not parts:
        return EMPTY
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.prices for part in parts], axis=1),
        np.concatenate([part.sums for part in parts], axis=1),
    )


def minute_rows(day: DayOfMinutes, first: int, end: int) -> Rows:
    """Minutes `first` to `end` of a day."""
    return Rows(
        np.stack([of[first:end] for of in (day.open, day.high, day.low, day.close)]),
        np.stack([day.volume[first:end], day.turnover[first:end]]),
    )


def quarter_rows(day: DayOfMinutes) -> Rows:
    """The quarters of a day."""
    return minute_rows(day, 0, MINUTES).grouped(_QUARTER_STARTS)


def cut_minute(day: DayOfMinutes, index: int, elapsed_ms: int) -> Rows:
    """Minute `index` as far as it has come after `elapsed_ms` (0 to 59,999): one row.

    Its extremes are those of its path so far. Volume and turnover are the elapsed share: at least one step from the
    first trade on, and no turnover without volume.
    """
    last = ticks_after(day, index, elapsed_ms)
    seen = [ticks for at, ticks in day.path(index) if at <= elapsed_ms]
    prices = (seen[0], max(*seen, last), min(*seen, last), last)
    whole = int(day.volume[index])
    volume = -(-whole * (elapsed_ms + 1) // 60_000)
    sums = (volume, int(day.turnover[index]) * volume // max(whole, 1))
    return Rows(np.array(prices, dtype=np.int32).reshape(4, 1), np.array(sums, dtype=np.int64).reshape(2, 1))


def ticks_after(day: DayOfMinutes, index: int, elapsed_ms: int) -> int:
    """The last price `elapsed_ms` into minute `index`, on the straight line between two points of its path."""
    path = day.path(index)
    for (begin, here), (end, there) in pairwise(path):
        if elapsed_ms <= end:
            span = end - begin
            return here + (2 * (there - here) * (elapsed_ms - begin) + span) // (2 * span)
    return path[-1][1]
