"""What is wrong with candles: gaps, duplicates, nonsense, age. Arrays in, words out; no reading, no decisions.

A fault blocks its coin alone: readers of the candles leave the coin out and show the words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from trading_assets.core.candles import BoolArray, Candles, IntArray
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso

UNFINISHED = "unfinished"

_MOST_STEPS = 16
"""The limit of a jump over a hole grows with its candles up to so many: four times that of one, in logarithms."""

_MOST_RANGE = 100.0
"""A candle whose high is more than so many times its low is no price that anybody could trade at."""

_MOST_NUMBER = 1e30
"""A price, a volume or a turnover above it, or a price below its inverse, is none: squares of it still are numbers."""


@dataclass(frozen=True)
class QualityLimits:
    """What is borne. Attributes are those of the settings of the same names."""

    min_candle_coverage_pct: float
    max_candle_age_bars: int
    max_candle_jump_pct: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.min_candle_coverage_pct, settings.max_candle_age_bars, settings.max_candle_jump_pct)


def faults(
    held: Candles,
    low: IntArray,
    high: IntArray,
    end_ms: IntArray,
    reach_ms: int,
    now_ms: int,
    limits: QualityLimits,
    exists_ms: int | None = None,
) -> list[str | None]:
    """What is wrong with each window held[low:high], which should reach from `reach_ms` before its end to its end.

    Args:
        low, high: shape (n,), 0 <= low <= high <= len(held).
        end_ms: shape (n,), the windows' as-of.
        reach_ms: how far back of the end candles are expected.
        exists_ms: since when there can be candles, UTC ms: a young listing is no gap. By default since the first one of
            each window.
        now_ms: the exchange's time: a candle that ends later cannot be finished.

    Returns:
        One text for each window, "; " between several faults; None where there is none.
    """
    step, some = held.timeframe.ms, high > low
    starts = np.append(held.start_ms, 0)
    first, last = starts[np.where(some, low, -1)], starts[np.where(some, high - 1, -1)]
    expected = expected_bars(end_ms, reach_ms, step, first if exists_ms is None else exists_ms)
    missing = np.maximum(expected - (high - low), 0)
    age = (end_ms - last) // step - 1
    is_gap = some & (100.0 * (expected - missing) / expected < limits.min_candle_coverage_pct)
    is_old = some & (age > limits.max_candle_age_bars)
    found: list[list[str]] = [[] for _ in range(len(low))]
    for at in np.flatnonzero(~some).tolist():
        found[at].append("age: no candles")
    for at in np.flatnonzero(is_gap).tolist():
        found[at].append(f"gap: {missing[at]} of {expected[at]} candles missing")
    for at in np.flatnonzero(is_old).tolist():
        found[at].append(f"age: newest closed at {iso(int(last[at]) + step)}, {age[at]} candles ago")
    # The next hour would read an unfinished candle that began before the end as a closed one.
    begun = np.maximum(high, np.searchsorted(held.start_ms, end_ms))
    for name, rows, needs_one_before in _bad_rows(held, now_ms, limits):
        counted = np.append(0, np.cumsum(rows))
        begin, end = np.minimum(low + needs_one_before, high), begun if name == UNFINISHED else high
        counts = counted[end] - counted[begin]
        for at in np.flatnonzero(counts).tolist():
            where = int(held.start_ms[begin[at] + int(np.argmax(rows[begin[at] : end[at]]))])
            found[at].append(f"{name}: {counts[at]} candles, first at {iso(where)}")
    return ["; ".join(texts) or None for texts in found]


def kinds_of(fault: str) -> str:
    """The names of what a text of `faults` tells, without where: `jump`, `gap and jump`."""
    return " and ".join(one.partition(":")[0] for one in fault.split("; "))


def expected_bars(end_ms: IntArray, reach_ms: int, step_ms: int, exists_ms: IntArray | int) -> IntArray:
    """How many candles there should be in the `reach_ms` before each end, if there are any since `exists_ms`; at least
    one."""
    first_end = -(-np.maximum(exists_ms, end_ms - reach_ms) // step_ms) * step_ms
    return np.maximum((end_ms - first_end) // step_ms, 1)


def fault_now(held: Candles, end_ms: int, limits: QualityLimits) -> str | None:
    """What is wrong with all candles held at `end_ms`, or None."""
    windows = np.array([0]), np.array([len(held)]), np.array([end_ms - end_ms % held.timeframe.ms])
    first = int(held.start_ms[0]) if len(held) else end_ms
    return faults(held, *windows, reach_ms=end_ms - first, now_ms=end_ms, limits=limits)[0]


def _bad_rows(held: Candles, now_ms: int, limits: QualityLimits) -> Iterator[tuple[str, BoolArray, int]]:
    """Each fault of single candles that occurs at all: its name, where, and 1 where it is one of a candle to the one
    before."""
    if not len(held):
        return
    step, starts = held.timeframe.ms, held.start_ms
    between, follows = np.diff(starts), np.zeros(len(held), dtype=np.bool_)
    # Negations, so that NaN is bad.
    sane = (
        (held.low > 1 / _MOST_NUMBER)
        & (held.low <= np.minimum(held.open, held.close))
        & (held.high >= np.maximum(held.open, held.close))
        & (held.high < _MOST_NUMBER)
        & (held.volume >= 0)
        & (held.volume < _MOST_NUMBER)
        & (held.turnover >= 0)
        & (held.turnover < _MOST_NUMBER)
    )
    twice, back, jumped = follows.copy(), follows.copy(), follows.copy()
    twice[1:], back[1:] = between == 0, between < 0
    jumped[1:] = (between > 0) & _has_jumped(held, between // step, limits.max_candle_jump_pct)
    kinds = (
        ("duplicate", twice, 1),
        ("out of order", back, 1),
        ("out of grid", starts % step != 0, 0),
        (UNFINISHED, starts + step > now_ms, 0),
        ("impossible prices", ~sane, 0),
        ("spike", held.high > _MOST_RANGE * held.low, 0),
        ("jump", jumped, 1),
    )
    yield from (kind for kind in kinds if kind[1].any())


def _has_jumped(held: Candles, steps: IntArray, limit_pct: float) -> BoolArray:
    """Whether the open of each candle but the first is too far from the close before it.

    Prices spread with the root of time, so over a hole of many candles they may be farther apart, within bounds.
    """
    longer = np.sqrt(np.minimum(np.maximum(steps, 1), _MOST_STEPS))
    limit = limit_pct / 100
    most = (1 + limit) ** longer
    least = (1 - limit) ** longer if limit < 1 else 1 / most
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = held.open[1:] / held.close[:-1]
        return (moved > most) | (moved < least)
