"""When a price first touches a level: a search along the market's exact path of trades. No orders here.

The path between two of its points is a straight line; after the last point of a minute the price rests.
A moment is a whole millisecond, so the answer does not depend on how the search is cut into pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.simulator.account.models import MARK_PRICE
from trading_assets.simulator.market.base import HIGH, LOW, START, Market, PathPoint

CHUNK_MS = 720 * MINUTE_MS
"""Candles looked at together: half a day."""

SAMPLE_MS = 10_000
"""How often mark and index price are looked at."""


@dataclass(frozen=True)
class Levels:
    """Touched at a price <= `below` or >= `above` (None: no such level); `slack` absorbs binary fractions."""

    below: float | None
    above: float | None
    slack: float

    def touches_below(self, price: float) -> bool:
        return self.below is not None and price <= self.below + self.slack

    def touches_above(self, price: float) -> bool:
        return self.above is not None and price >= self.above - self.slack


@dataclass(frozen=True)
class Touch:
    """The level `below` or above was touched at `time_ms`."""

    time_ms: int
    below: bool


def first_touch(market: Market, symbol: str, levels: Levels, after_ms: int, through_ms: int) -> Touch | None:
    """The first touch in (after_ms, through_ms], or None."""
    minute = floor_ms(after_ms + 1, MINUTE_MS)
    while minute <= through_ms:
        end = min(minute + CHUNK_MS, floor_ms(through_ms, MINUTE_MS) + MINUTE_MS)
        bars = market.bars(symbol, "1", minute, end, end)
        for bar in bars:
            if levels.touches_below(bar[LOW]) or levels.touches_above(bar[HIGH]):
                touch = touch_in_minute(market.path(symbol, int(bar[START])), levels, after_ms, int(bar[START]))
                if touch is not None:
                    return touch if touch.time_ms <= through_ms else None
        minute = end
    return None


Search = Callable[[Market, str, Levels, int, int], Touch | None]


def first_sample_touch(price: str) -> Search:
    """The search along mark or index price, which have no path: they are looked at every `SAMPLE_MS`."""

    def search(market: Market, symbol: str, levels: Levels, after_ms: int, through_ms: int) -> Touch | None:
        value_at = market.mark_price if price == MARK_PRICE else market.index_price
        for moment in range(floor_ms(after_ms, SAMPLE_MS) + SAMPLE_MS, through_ms + 1, SAMPLE_MS):
            value = value_at(symbol, moment)
            if levels.touches_below(value):
                return Touch(moment, True)
            if levels.touches_above(value):
                return Touch(moment, False)
        return None

    return search


@dataclass(frozen=True)
class Trail:
    """A stop `distance` away from the best price since `from_ms`, which was `from_price`; below it for a long."""

    long: bool
    distance: float
    from_ms: int
    from_price: float
    slack: float


class TrailSearch:
    """Finds when a trailing stop is touched; it goes on where it has stopped."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._sign = 1.0 if trail.long else -1.0
        self._best = self._sign * trail.from_price
        self._after_ms = trail.from_ms
        self.touch: Touch | None = None

    def run(self, market: Market, symbol: str, through_ms: int) -> Touch | None:
        """The first touch in (from_ms, through_ms], or None."""
        while self.touch is None and self._after_ms < through_ms:
            minute = floor_ms(self._after_ms + 1, MINUTE_MS)
            end = min(minute + CHUNK_MS, floor_ms(through_ms, MINUTE_MS) + MINUTE_MS)
            for bar in market.bars(symbol, "1", minute, end, end):
                self._minute(market, symbol, int(bar[START]), float(bar[LOW]), float(bar[HIGH]))
                if self.touch is not None:
                    break
            self._after_ms = min(end - 1, market.fixed_through(through_ms))
        return self.touch if self.touch is not None and self.touch.time_ms <= through_ms else None

    def _minute(self, market: Market, symbol: str, minute_ms: int, low: float, high: float) -> None:
        best, worst = (high, low) if self.trail.long else (-low, -high)
        if self._after_ms < minute_ms and worst > max(self._best, best) - self.trail.distance + self.trail.slack:
            self._best = max(self._best, best)
            return
        here: PathPoint | None = None
        for point in market.path(symbol, minute_ms):
            start = here if here is not None else PathPoint(point.time_ms - 1, point.price)
            here = point
            if point.time_ms <= self._after_ms:
                continue
            stop = self._best - self.trail.distance
            levels = Levels(stop, None, self.trail.slack) if self.trail.long else Levels(None, -stop, self.trail.slack)
            moment = _moment(start, point, levels, max(start.time_ms, self._after_ms) + 1, below=self.trail.long)
            if moment is not None:
                self.touch = Touch(moment, self.trail.long)
                return
            self._best = max(self._best, self._sign * point.price)


def touch_in_minute(path: tuple[PathPoint, ...], levels: Levels, after_ms: int, minute_ms: int) -> Touch | None:
    """The first touch after `after_ms` within the minute that starts at `minute_ms`."""
    if not path:
        return None
    rest = PathPoint(minute_ms + MINUTE_MS - 1, path[-1].price)
    points = (*path, rest) if rest.time_ms > path[-1].time_ms else path
    first = points[0]
    if first.time_ms > after_ms:
        if levels.touches_below(first.price):
            return Touch(first.time_ms, True)
        if levels.touches_above(first.price):
            return Touch(first.time_ms, False)
    for start, end in pairwise(points):
        if end.time_ms <= after_ms:
            continue
        since = max(start.time_ms, after_ms) + 1
        moments = [
            Touch(moment, below)
            for below in (True, False)
            if (moment := _moment(start, end, levels, since, below=below)) is not None
        ]
        if moments:
            return min(moments, key=lambda touch: touch.time_ms)
    return None


def _moment(start: PathPoint, end: PathPoint, levels: Levels, since_ms: int, *, below: bool) -> int | None:
    """First millisecond in [since_ms, end] at which the line from start to end is at or beyond the level."""
    level = levels.below if below else levels.above
    if level is None:
        return None
    sign = 1.0 if below else -1.0
    bound = sign * level + levels.slack
    here, there = sign * start.price, sign * end.price
    if there > bound:
        # Moving away, or never reached: only the beginning of the line can be beyond the level.
        if here > bound:
            return None
        leaves = start.time_ms + (bound - here) / (there - here) * (end.time_ms - start.time_ms)
        return since_ms if since_ms <= leaves else None
    if here <= bound:
        return since_ms if since_ms <= end.time_ms else None
    crossing = start.time_ms + (here - bound) / (here - there) * (end.time_ms - start.time_ms)
    moment = max(min(math.ceil(crossing), end.time_ms), since_ms)
    return moment if moment <= end.time_ms else None
