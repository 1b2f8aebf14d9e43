"""The seeded market: prices of any time from a seed, without stored history.

Midnights come from `walk.py`, minutes from `minutes.py`, candles from `rows.py`; here they are kept for a while and
questions are answered. Any day is computed by itself in a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from trading_assets.errors import DataError
from trading_assets.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, iso
from trading_assets.simulator.market import book as order_book
from trading_assets.simulator.market import funding
from trading_assets.simulator.market.base import Bars, Contract, PathPoint, Stats24h
from trading_assets.simulator.market.calendar import edges_of, start_of
from trading_assets.simulator.market.character import Character
from trading_assets.simulator.market.contracts import universe
from trading_assets.simulator.market.grid import TURNOVER_UNIT, Grid
from trading_assets.simulator.market.minutes import (
    DayOfMinutes,
    DayPath,
    MarketDay,
    day_of_minutes,
    day_path,
    following_path,
    market_day,
)
from trading_assets.simulator.market.rows import (
    QUARTER_MINUTES,
    Rows,
    cut_minute,
    joined,
    minute_rows,
    quarter_rows,
    ticks_after,
)
from trading_assets.simulator.market.walk import END_DAY, EPOCH_DAY, DailyWalk, daily_walk, market_walk

_QUARTER_MS = QUARTER_MINUTES * MINUTE_MS

# Bounds of memory: a day of minutes is 43 kB, its quarters 3 kB, a walk 75 kB, a day of the market 23 kB.
_DAYS_KEPT, _QUARTERS_KEPT, _WALKS_KEPT, _MARKET_DAYS_KEPT = 2000, 20_000, 700, 400
_MOMENTS_KEPT, _MINUTES_KEPT, _PAYMENTS_KEPT, _BOOKS_KEPT = 8000, 2000, 2000, 100

_USUAL_DEPTH = 50
"""So deep a book costs little more than its best level, and serves the order that looks deeper at the same moment."""

_SMOOTHING = (0.4, 0.3, 0.2, 0.1)
"""Weights of the last price now, one, two and three minutes ago in the smooth price."""


class SeededMarket:
    """A market of `symbols` USDT perpetuals and, beside them, a few contracts that a scan must drop.

    Fulfils `trading_assets.simulator.market.base.Market` for the years 2019 to 2035. Before its launch a contract
    has no candles, and its price stands at that of the launch; likewise after its delivery.

    Raises:
        DataError: (every method that takes a time) the time lies outside those years.
        KeyError: (every method that takes a symbol) there is no such contract.
    """

    def __init__(self, seed: int, symbols: int = 80) -> None:
        self.seed = seed
        listed = universe(seed, symbols)
        self.contracts: Mapping[str, Contract] = {symbol: contract for symbol, (contract, _) in listed.items()}
        self._characters: dict[str, Character] = {symbol: character for symbol, (_, character) in listed.items()}
        self._grids = {symbol: Grid.of(contract) for symbol, contract in self.contracts.items()}
        self._market = market_walk(seed)
        self._walk = lru_cache(_WALKS_KEPT)(self._compute_walk)
        self._last_ticks = lru_cache(_MOMENTS_KEPT)(self._compute_last_ticks)
        self._smooth_ticks = lru_cache(_MOMENTS_KEPT)(self._compute_smooth_ticks)
        self._payment = lru_cache(_PAYMENTS_KEPT)(self._compute_payment)
        self._book = lru_cache(_BOOKS_KEPT)(self._compute_book)
        self._until_minute = lru_cache(_MINUTES_KEPT)(self._compute_until_minute)
        self._market_day = lru_cache(_MARKET_DAYS_KEPT)(self._compute_market_day)
        self._day = lru_cache(_DAYS_KEPT)(self._compute_day)
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

    # Prices at a moment

    def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
        """See `Market.path`: four points, the last one 59,999 ms into the minute."""
        day, index = divmod(minute_ms // MINUTE_MS, DAY_MS // MINUTE_MS)
        grid = self._grids[symbol]
        return tuple(PathPoint(minute_ms + at, grid.price(ticks)) for at, ticks in self._day(symbol, day).path(index))

    def last_price(self, symbol: str, time_ms: int) -> float:
        return self._grids[symbol].price(self._last_ticks(symbol, time_ms))

    def _compute_last_ticks(self, symbol: str, time_ms: int) -> int:
        contract = self.contracts[symbol]
        if time_ms < contract.launch_ms:
            time_ms = contract.launch_ms
        elif 0 < contract.delivery_ms <= time_ms:
            time_ms = contract.delivery_ms - 1
        minute, elapsed_ms = divmod(time_ms, MINUTE_MS)
        day, index = divmod(minute, DAY_MS // MINUTE_MS)
        return ticks_after(self._day(symbol, day), index, elapsed_ms)

    def _compute_smooth_ticks(self, symbol: str, time_ms: int) -> float:
        return sum(
            weight * self._last_ticks(symbol, time_ms - ago * MINUTE_MS) for ago, weight in enumerate(_SMOOTHING)
        )

    def index_price(self, symbol: str, time_ms: int) -> float:
        """Three minutes of last prices, smoothed; of the perpetual's where a dated contract tracks one."""
        character = self._characters[symbol]
        of = character.follows if character.premium_per_year else symbol
        return round(self._smooth_ticks(of, time_ms) * self._grids[of].tick, self.contracts[symbol].price_scale)

    def mark_price(self, symbol: str, time_ms: int) -> float:
        """Between the last price and the same smoothed, on the tick."""
        mark = 0.6 * self._smooth_ticks(symbol, time_ms) + 0.4 * self._last_ticks(symbol, time_ms)
        return self._grids[symbol].price(max(round(mark), 1))

    def stats_24h(self, symbol: str, now_ms: int) -> Stats24h:
        """See `Market.stats_24h`: from the minute that was open 24 hours ago to the one that is open now, as far as it
        has come; of a younger contract, since its launch.
        """
        contract, grid = self.contracts[symbol], self._grids[symbol]
        now_ms = min(now_ms, contract.delivery_ms - 1) if contract.delivery_ms else now_ms
        now_ms = max(now_ms, contract.launch_ms)
        minute = now_ms // MINUTE_MS
        day, index = divmod(minute, DAY_MS // MINUTE_MS)
        today = self._day(symbol, day)
        row = cut_minute(today, index, now_ms % MINUTE_MS)
        high, low = int(row.prices[1, 0]), int(row.prices[2, 0])
        volume, turnover = int(row.sums[0, 0]), int(row.sums[1, 0])
        before = self._until_minute(symbol, minute)
        if before is not None:
            high, low = max(high, before[0]), min(low, before[1])
            volume, turnover = volume + before[2], turnover + before[3]
        return Stats24h(
            prev_price_24h=self.last_price(symbol, now_ms - DAY_MS),
            high=grid.price(high),
            low=grid.price(low),
            volume=grid.quantity(volume),
            turnover=turnover / TURNOVER_UNIT,
            prev_price_1h=self.last_price(symbol, now_ms - HOUR_MS),
        )

    def book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        """See `Market.book`: sizes and spread of the second, around the last price of the millisecond."""
        bids, asks = self._book(symbol, time_ms, max(depth, _USUAL_DEPTH))
        return bids[:depth], asks[:depth]

    def _compute_book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        return order_book.levels(
            self.seed,
            self.contracts[symbol],
            self._characters[symbol],
            self._grids[symbol],
            self._last_ticks(symbol, time_ms),
            time_ms,
            depth,
        )

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        """See `Market.funding_rate`. It uses nothing after the payment before."""
        return self._payment(symbol, funding_ms)

    def _compute_payment(self, symbol: str, funding_ms: int) -> float:
        contract, character = self.contracts[symbol], self._characters[symbol]
        _check_day(funding_ms // DAY_MS)
        return funding.rate(self.seed, contract, character, self._walk(character.follows or symbol), funding_ms)

    def open_interest(self, symbol: str, time_ms: int) -> float:
        return funding.open_interest(self.seed, self.contracts[symbol], self._characters[symbol], time_ms)

    # What is kept

    def _compute_walk(self, symbol: str) -> DailyWalk:
        return daily_walk(self.seed, symbol, self._characters[symbol], self._market)

    def _compute_until_minute(self, symbol: str, minute: int) -> tuple[int, int, int, int] | None:
        """Highest and lowest ticks, volume and turnover of the 24 hours before `minute`, None before a launch."""
        day, index = divmod(minute, DAY_MS // MINUTE_MS)
        first = max(minute - DAY_MS // MINUTE_MS, self.contracts[symbol].launch_ms // MINUTE_MS)
        parts: list[tuple[int, int, int, int]] = []
        for number, begin, end in (
            (day, max(first - day * (DAY_MS // MINUTE_MS), 0), index),
            (day - 1, first - (day - 1) * (DAY_MS // MINUTE_MS), DAY_MS // MINUTE_MS),
        ):
            if begin < end:
                of, span = self._day(symbol, number), slice(begin, end)
                parts.append(
                    (
                        int(of.high[span].max()),
                        int(of.low[span].min()),
                        int(of.volume[span].sum()),
                        int(of.turnover[span].sum()),
                    )
                )
        if not parts:
            return None
        highs, lows, volumes, turnovers = zip(*parts, strict=True)
        return max(highs), min(lows), sum(volumes), sum(turnovers)

    def _compute_market_day(self, day: int) -> MarketDay:
        return market_day(self.seed, day)

    def _compute_day(self, symbol: str, day: int) -> DayOfMinutes:
        return day_of_minutes(self._path_of(symbol, day), self._grids[symbol])

    def _compute_quarters(self, symbol: str, day: int) -> Rows:
        # Not from the kept days: a long range of coarse candles would drive out the days of now.
        return quarter_rows(self._compute_day(symbol, day))

    def _path_of(self, symbol: str, day: int) -> DayPath:
        _check_day(day)
        character = self._characters[symbol]
        if character.follows:
            leader = self._path_of(character.follows, day)
            return following_path(self.seed, self.contracts[symbol], character, day, leader)
        return day_path(self.seed, symbol, character, day, self._walk(symbol), self._market_day(day))


def _check_day(day: int) -> None:
    if not EPOCH_DAY <= day < END_DAY:
        raise DataError(
            f"the seeded market covers the years 2019 to 2035, asked for {iso(day * DAY_MS)}; set the clock into them"
        )
