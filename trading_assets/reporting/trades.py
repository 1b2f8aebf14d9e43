"""A selection that is followed, and a trade of it, as reports count them. Nothing is simulated here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.timeframes import HOUR_MS, as_of_ms

STOP, TARGET, OPEN, DROPPED, DELISTED = "stop", "target", "open", "not filled", "delisted"


class SelectedStrategy(NamedTuple):
    """The strategy that was chosen for a coin in an hour; it trades from its as-of to the next one.

    Above `max_price` (USDT) no order of a position's size is accepted.
    """

    hour_ms: int
    symbol: str
    timeframe: str
    strategy: str
    parameters: str
    max_price: float = math.inf

    @property
    def end_ms(self) -> int:
        """End of the hour in which it trades. A bar that closes then still belongs to it; see `run_forward_tests`."""
        return as_of_ms(self.hour_ms) + HOUR_MS


class Ending(NamedTuple):
    """That a contract was delisted: when (UTC ms), and the price of its settlement, as far as it is known."""

    time_ms: int
    price: float | None = None


NO_ENDINGS: Mapping[str, Ending] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ForwardTrade:
    """A trade by the rules of `backtesting.engine`, as if the account had been free to take it. Money in USD.

    One whose entry waited and was not filled never was a position: it kept its coin from `entry_ms` to `exit_ms`.

    Attributes:
        entry_ms: close of the signal's bar.
        exit_ms: end of the bar in which it ends; the end of the range where it is still open.
        direction: 1 long, -1 short.
        size: base coin.
        fees, entry_fee: of both fills (of the entry alone while open); of the entry.
        slippage: what the fills cost more than the prices they were made at.
        funding: paid, negative is received.
        pnl: net of fees and funding; marked at the last close where it is open.
        reason: stop, target or open; not filled; delisted.
        risk: loss at the stop before costs.
        marks: last close at or before each whole hour from the entry until before the exit, shape (k,).
        first_mark_ms: the first of these hours.
        filled_ms: where its entry waited, the end of the bar in which it was filled; else 0.
    """

    selection: SelectedStrategy
    entry_ms: int
    exit_ms: int
    direction: int
    size: float
    entry_price: float
    exit_price: float
    entry_fee: float
    fees: float
    slippage: float
    funding: float
    pnl: float
    reason: str
    confidence: float
    stop_fraction: float
    risk: float
    marks: FloatArray
    first_mark_ms: int
    filled_ms: int = 0

    @property
    def is_filled(self) -> bool:
        return self.reason != DROPPED

    def holds_at(self, time_ms: int) -> bool:
        """Whether a position of it is open at a time before its end."""
        return self.is_filled and time_ms >= self.filled_ms

    @property
    def r(self) -> float:
        """PnL in multiples of the risk."""
        return self.pnl / self.risk

    @property
    def bps(self) -> float:
        """PnL in basis points of the position's value at its entry."""
        return self.pnl / (self.size * self.entry_price) * 10_000

    @property
    def closed(self) -> bool:
        return self.reason != OPEN

    def mark_at(self, time_ms: int) -> float:
        """Price at the last whole hour of its simulator at or before a time; its entry price before the first."""
        index = (time_ms - self.first_mark_ms) // HOUR_MS
        return (
            float(self.marks[min(index, len(self.marks) - 1)]) if index >= 0 and len(self.marks) else self.entry_price
        )

    def open_gain(self, time_ms: int) -> float:
        """PnL of the open trade at a time, the entry's fee included; 0 while its entry waits."""
        if not self.holds_at(time_ms):
            return 0.0
        return self.direction * self.size * (self.mark_at(time_ms) - self.entry_price) - self.entry_fee


def last_closes(candles: Candles, times_ms: Sequence[int]) -> FloatArray:
    """Last close at or before each time; NaN before the first, shape (k,)."""
    index = np.searchsorted(candles.end_ms, np.asarray(times_ms, dtype=np.int64), side="right") - 1
    if not len(candles):
        return np.full(len(index), np.nan)
    return np.where(index >= 0, candles.close[np.maximum(index, 0)], np.nan)


def whole_hours(start_ms: int, end_ms: int) -> range:
    """Whole hours in [start_ms, end_ms)."""
    return range(-(-start_ms // HOUR_MS) * HOUR_MS, end_ms, HOUR_MS)
