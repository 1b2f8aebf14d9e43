"""Means of trades with intervals, and the falls that other orders of trades would have given. Arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trading_assets.backtesting.overfitting import DrawdownPaths, drawdown_paths
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import DAY_MS, floor_ms, to_datetime
from trading_assets.reporting.figures import Curve

CONFIDENCE = 0.95

MIN_TRADES, MIN_DAYS = 20, 10
"""With fewer closed trades, or fewer days on which any was entered, a mean has no interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: the figure; NaN without a trade.
        low, high: the interval; NaN where `reason` is given.
        trades, days: closed trades, and days (UTC) on which they were entered.
        reason: why there is no interval; empty where there is one.
    """

    value: float
    low: float
    high: float
    trades: int
    days: int
    reason: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    @property
    def trades_needed(self) -> float:
        """About so many trades it takes until the interval leaves zero out, if the mean stays as it is."""
        width = (self.high - self.low) / 2
        return math.ceil(self.trades * (width / self.value) ** 2) if self.value and width >= 0 else math.nan


def mean_by_day(values: FloatArray, entry_ms: IntArray, *, tests: int = 1) -> Estimate:
    """Mean result of trades; days are independent, the trades of a day are not.

    The error is that of a ratio of sums by day (Cochran 1977, "Sampling techniques", section 6.3), the quantile that of
    Student's t with one degree less than there are days.

    Args:
        values: such as R, shape (n,).
        entry_ms: UTC ms, shape (n,).
        tests: of so many means the intervals are to hold together (Sidak 1967): each is wider.
    """
    return difference_by_day((values, entry_ms), None, tests=tests)


def difference_by_day(
    ours: tuple[FloatArray, IntArray], theirs: tuple[FloatArray, IntArray] | None, *, tests: int = 1
) -> Estimate:
    """Mean of one set of trades less that of another one; what both share in a day counts once.

    Args:
        ours, theirs: values and entries (UTC ms); without `theirs` it is the mean of `ours` alone.

    Returns:
        `trades` are those of the smaller set, `days` those of either.
    """
    sides = [side for side in (ours, theirs) if side is not None]
    if not all(len(values) for values, _ in sides):
        return Estimate(math.nan, math.nan, math.nan, 0, 0, "no trade")
    days = np.unique(np.concatenate([floor_of(entries) for _, entries in sides]))
    influence, found = np.zeros(len(days)), 0.0
    for sign, (values, entries) in zip((1.0, -1.0), sides, strict=False):
        place, mean = np.searchsorted(days, floor_of(entries)), float(values.mean())
        found += sign * mean
        influence += sign * np.bincount(place, weights=values - mean, minlength=len(days)) / len(values)
    count = min(len(values) for values, _ in sides)
    if count < MIN_TRADES or len(days) < MIN_DAYS:
        reason = (
            f"too few: {counted(count, 'trade')} on {counted(len(days), 'day')}, at least {MIN_TRADES} and {MIN_DAYS} "
            "are needed"
        )
        return Estimate(found, math.nan, math.nan, count, len(days), reason)
    error = math.sqrt(float(influence @ influence) * len(days) / (len(days) - 1))
    width = error * _student(len(days) - 1, tests)
    return Estimate(found, found - width, found + width, count, len(days))


def mean_of_days(values: FloatArray) -> Estimate:
    """Mean of a figure of days, shape (days,), such as two accounts' difference; days are independent."""
    days = len(values)
    found = float(values.mean()) if days else math.nan
    if days < MIN_DAYS:
        return Estimate(
            found, math.nan, math.nan, 0, days, f"too few: {counted(days, 'day')}, at least {MIN_DAYS} are needed"
        )
    width = float(values.std(ddof=1)) / math.sqrt(days) * _student(days - 1, 1)
    return Estimate(found, found - width, found + width, 0, days)


def floor_of(times_ms: IntArray) -> IntArray:
    """The days (UTC) that times lie in, as numbers."""
    return np.asarray(times_ms, dtype=np.int64) // DAY_MS


def counted(number: int, what: str) -> str:
    """Such as `1 day`, `2 days`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _student(freedom: int, tests: int) -> float:
    from scipy.special import stdtrit

    level = CONFIDENCE ** (1 / tests)
    return float(stdtrit(freedom, (1 + level) / 2))


@dataclass(frozen=True)
class OrderOfTrades:
    """Falls of the sum of closed trades in other orders.

    Every order ends alike, so this speaks of the fall alone, and where losses come together it makes it too small.

    Attributes:
        seen: the largest fall of the order that was, USD (<= 0).
        median, worst: of the orders; 5 % of them fall deeper than `worst`. NaN where `reason` is given.
    """

    seen: float
    median: float
    worst: float
    trades: int
    reason: str = ""


ORDERS = 1_000


def order_of_trades(trades: pd.DataFrame, *, orders: int = ORDERS, seed: int = 1) -> OrderOfTrades:
    """Shuffle closed trades (`figures.TRADE_COLUMNS`), by their PnL in the order of their exits."""
    pnl = trades.sort_values("exit_ms", kind="stable")["pnl"].to_numpy(dtype=np.float64)
    seen = float(_falls(pnl[None])[0]) if len(pnl) else 0.0
    if len(pnl) < MIN_TRADES:
        reason = f"too few: {counted(len(pnl), 'trade')}, at least {MIN_TRADES} are needed"
        return OrderOfTrades(seen, math.nan, math.nan, len(pnl), reason)
    falls = _falls(np.random.default_rng(seed).permuted(np.tile(pnl, (orders, 1)), axis=1))
    return OrderOfTrades(seen, float(np.median(falls)), float(np.quantile(falls, 0.05)), len(pnl))


def _falls(pnl: FloatArray) -> FloatArray:
    """Largest fall of each row's running sum below what it had reached, or below zero, shape (rows,)."""
    total = np.cumsum(pnl, axis=1)
    return np.minimum((total - np.maximum.accumulate(np.maximum(total, 0.0), axis=1)).min(axis=1), 0.0)


def drawdowns_of(curve: Curve) -> DrawdownPaths:
    """What other orders of the account's days would have given, see `overfitting.drawdown_paths`."""
    days = (curve.times_ms - 1) // DAY_MS
    days[0] = curve.times_ms[0] // DAY_MS  # the first point belongs to the day that it opens
    ends = np.flatnonzero(np.diff(days, append=days[-1] + 1))
    at_ends = curve.equity[ends]
    opening = float(curve.equity[0])
    return drawdown_paths(np.diff(at_ends, prepend=opening), opening)


def below_peak_since(curve: Curve) -> str:
    """The day on which the curve was at its peak last, `2026-03-20`."""
    peak = int(np.flatnonzero(curve.equity >= np.maximum.accumulate(curve.equity))[-1])
    return to_datetime(floor_ms(int(curve.times_ms[peak]), DAY_MS)).strftime("%Y-%m-%d")
