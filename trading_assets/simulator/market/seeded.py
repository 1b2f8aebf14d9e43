"""The seeded market: prices of any time from a seed, without stored history.

Midnights come from `walk.py`, minutes from `minutes.py`, candles from `rows.py`; here they are kept for a while and
questions are answered. Any day is computed by itself in a fraction of a millisecond.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, iso
from trading_assets.simulator.market import funding
from trading_assets.simulator.market.base import Bars
from trading_assets.simulator.market.calendar import edges_of, start_of
from trading_assets.simulator.market.contracts import universe
from trading_assets.simulator.market.minute_market import MinuteMarket
from trading_assets.simulator.market.minutes import (
    DayOfMinutes,
    DayPath,
    MarketDay,
    day_of_minutes,
    day_path,
    following_path,
    market_day,
)
from trading_assets.simulator.market.rows import QUARTER_MINUTES, Rows, cut_minute, joined, minute_rows, quarter_rows
from trading_assets.simulator.market.walk import END_DAY, EPOCH_DAY, DailyWalk, daily_walk, market_walk

_QUARTER_MS = QUARTER_MINUTES * MINUTE_MS

# Bounds of memory: a day of minutes is 43 kB, its quarters 3 kB, a walk 75 kB, a day of the market 23 kB.
_DAYS_KEPT, _QUARTERS_KEPT, _WALKS_KEPT, _MARKET_DAYS_KEPT = 2000, 20_000, 700, 400


class SeededMarket(MinuteMarket):
    """A market of `symbols` USDT perpetuals and, beside them, a few contracts that a scan must drop.

    Fulfils `trading_assets.simulator.market.base.Market` for the years 2019 to 2035. Before its launch a contract
    has no candles, and its price stands at that of the launch; likewise after its delivery.

    Raises:
        DataError: (every method that takes a time) the time lies outside those years.
        KeyError: (every method that takes a symbol) there is no such contract.
    """

    def __init__(self, seed: int, symbols: int = 80) -> None:
        super().__init__(seed, universe(seed, symbols))
        self._market = market_walk(seed)
        self._walk = lru_cache(_WALKS_KEPT)(self._compute_walk)
        self._market_day = lru_cache(_MARKET_DAYS_KEPT)(self._compute_market_day)
        self._kept_day = lru_cache(_DAYS_KEPT)(self._compute_day)
        self._quarters = lru_cache(_QUARTERS_KEPT)(self._compute_quarters)

    # Candles

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.bars`."""
        contract, grid = self.contracts[symbol], self._grids[symbol]
        last = min(end_ms - 1, now_ms)
        if contract.delivery_ms:
            last = min(last, contract.delivery_ms - 1)
        edges = edges_of(interval, max(start_ms, start_of(interval, contract.launch_ms)), last)
        if last < contract.launch_ms or len(edges) < 2:
            return np.empty((0, 7))
        starts, horizon = np.maximum(edges[:-1], contract.launch_ms), int(edges[-1])
        if contract.delivery_ms:
            horizon = min(horizon, contract.delivery_ms)
        first = int(starts[0])
        unit = MINUTE_MS if np.any(edges[:2] % _QUARTER_MS) else _QUARTER_MS
        closed = min(now_ms, horizon) // unit * unit
        parts = [self._closed_rows(symbol, first, closed, unit)]
        if closed < min(now_ms + 1, horizon):
            parts.append(self._open_row(symbol, closed, now_ms, horizon))
        rows = joined(parts)
        if len(rows) > len(starts):
            rows = rows.grouped((starts - first) // unit)
        return rows.bars(grid, edges[:-1])

    def _closed_rows(self, symbol: str, start_ms: int, end_ms: int, unit_ms: int) -> Rows:
        """Rows of `unit_ms` (a minute or a quarter) that start in [start_ms, end_ms), both multiples of it."""
        parts = []
        for day in range(start_ms // DAY_MS, -(-end_ms // DAY_MS)):
            first = max(start_ms - day * DAY_MS, 0) // unit_ms
            end = min(end_ms - day * DAY_MS, DAY_MS) // unit_ms
            if unit_ms == MINUTE_MS:
                parts.append(minute_rows(self._day(symbol, day), first, end))
            else:
                parts.append(self._quarters(symbol, day).part(first, end))
        return joined(parts)

    def _open_row(self, symbol: str, start_ms: int, now_ms: int, horizon_ms: int) -> Rows:
        """What was traded from `start_ms` (the begin of a minute or quarter) to now or the horizon: one row."""
        minute = min(now_ms, horizon_ms) // MINUTE_MS * MINUTE_MS
        parts = [self._closed_rows(symbol, start_ms, minute, MINUTE_MS)] if start_ms < minute else []
        if now_ms < horizon_ms:
            day, index = divmod(minute // MINUTE_MS, DAY_MS // MINUTE_MS)
            parts.append(cut_minute(self._day(symbol, day), index, now_ms - minute))
        return joined(parts).grouped(np.zeros(1, dtype=np.int64))

    # Beside the price

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        """See `Market.funding_rate`. It uses nothing after the payment before."""
        contract, profile = self.contracts[symbol], self._profiles[symbol]
        _check_day(funding_ms // DAY_MS)
        return funding.rate(self.seed, contract, profile, self._walk(profile.follows or symbol), funding_ms)

    # What is kept

    def _day(self, symbol: str, day: int) -> DayOfMinutes:
        return self._kept_day(symbol, day)

    def _span(self, symbol: str) -> tuple[int, int]:
        contract = self.contracts[symbol]
        return contract.launch_ms, contract.delivery_ms or END_DAY * DAY_MS

    def _check_time(self, symbol: str, time_ms: int) -> None:
        _check_day(time_ms // DAY_MS)

    def _compute_walk(self, symbol: str) -> DailyWalk:
        return daily_walk(self.seed, symbol, self._profiles[symbol], self._market)

    def _compute_market_day(self, day: int) -> MarketDay:
        return market_day(self.seed, day)

    def _compute_day(self, symbol: str, day: int) -> DayOfMinutes:
        return day_of_minutes(self._path_of(symbol, day), self._grids[symbol])

    def _compute_quarters(self, symbol: str, day: int) -> Rows:
        # Not from the kept days: a long range of coarse candles would drive out the days of now.
        return quarter_rows(self._compute_day(symbol, day))

    def _path_of(self, symbol: str, day: int) -> DayPath:
        _check_day(day)
        profile = self._profiles[symbol]
        if profile.follows:
            leader = self._path_of(profile.follows, day)
            return following_path(self.seed, self.contracts[symbol], profile, day, leader)
        return day_path(self.seed, symbol, profile, day, self._walk(symbol), self._market_day(day))


def _check_day(day: int) -> None:
    if not EPOCH_DAY <= day < END_DAY:
        raise DataError(
            f"the seeded market covers the years 2019 to 2035, asked for {iso(day * DAY_MS)}; set the clock into them"
        )
