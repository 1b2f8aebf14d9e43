"""What every market made of minutes answers in the same way: prices of a moment, statistics, book, reference candles.

Where the minutes come from, which candles exist and what funding was paid are the business of the subclasses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.simulator.market import book as order_book
from trading_assets.simulator.market import funding
from trading_assets.simulator.market.base import (
    CLOSE,
    OPEN,
    Bars,
    Contract,
    FunctionOfTime,
    PathPoint,
    Reference,
    Stats24h,
)
from trading_assets.simulator.market.calendar import edges_of, start_of
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.grid import TURNOVER_UNIT, Grid
from trading_assets.simulator.market.minutes import MINUTES, DayOfMinutes
from trading_assets.simulator.market.noise import Floats, stream
from trading_assets.simulator.market.premium import (
    MARK_SHARE,
    SMOOTHING,
    indices,
    marks,
    premium_at,
    reference_candles,
)
from trading_assets.simulator.market.rows import cut_minute, ticks_after

_LOOK_BACK_MS = (len(SMOOTHING) - 1) * MINUTE_MS
_PREMIUM_PLACES = 6
_HIGHEST = 2**31
_STATS_KEPT = 2000
_MARKS_KEPT, _BOOKS_KEPT = 1000, 20


class MinuteMarket(FunctionOfTime, ABC):
    """Of the contracts and profiles `listed`, with all that is drawn beside the minutes drawn from `seed`."""

    def __init__(self, seed: int, listed: Mapping[str, tuple[Contract, CoinProfile]]) -> None:
        self.seed = seed
        self.contracts: Mapping[str, Contract] = {symbol: contract for symbol, (contract, _) in listed.items()}
        self._profiles: dict[str, CoinProfile] = {symbol: profile for symbol, (_, profile) in listed.items()}
        self._grids = {symbol: Grid.of(contract) for symbol, contract in self.contracts.items()}
        self._closed_24h = lru_cache(_STATS_KEPT)(self._compute_closed_24h)
        # An order asks for mark price and book of its moment again and again.
        self._books = lru_cache(_BOOKS_KEPT)(self._compute_book)
        self._mark = lru_cache(_MARKS_KEPT)(self._compute_mark)
        self._premiums = {symbol: stream(seed, "premium", symbol) for symbol in self.contracts}

    finest_minutes = 1

    def candles(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.candles`."""
        return self.bars(symbol, interval, start_ms, end_ms, now_ms)

    @abstractmethod
    def _day(self, symbol: str, day: int) -> DayOfMinutes:
        """Its minutes; `day` counts from 1970-01-01."""

    @abstractmethod
    def _span(self, symbol: str) -> tuple[int, int]:
        """[first, end) of its trading, UTC ms; outside the price stands still."""

    @abstractmethod
    def _check_time(self, symbol: str, time_ms: int) -> None:
        """Raises DataError where the symbol has no price."""

    @abstractmethod
    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.bars`."""

    # Prices at a moment

    def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
        """See `Market.path`: four points, the last one 59,999 ms into the minute."""
        day, index = divmod(minute_ms // MINUTE_MS, MINUTES)
        grid = self._grids[symbol]
        return tuple(PathPoint(minute_ms + at, grid.price(ticks)) for at, ticks in self._day(symbol, day).path(index))

    def last_price(self, symbol: str, time_ms: int) -> float:
        self._check_time(symbol, time_ms)
        return self._grids[symbol].price(self._last_ticks(symbol, time_ms))

    def _last_ticks(self, symbol: str, time_ms: int) -> int:
        first, end = self._span(symbol)
        minute, elapsed_ms = divmod(min(max(time_ms, first), end - 1), MINUTE_MS)
        day, index = divmod(minute, MINUTES)
        return ticks_after(self._day(symbol, day), index, elapsed_ms)

    def _smooth_ticks(self, symbol: str, time_ms: int) -> float:
        first, end = self._span(symbol)
        day, within = divmod(time_ms, DAY_MS)
        if within < _LOOK_BACK_MS or time_ms >= end or time_ms - _LOOK_BACK_MS < first:
            return sum(
                weight * self._last_ticks(symbol, time_ms - ago * MINUTE_MS) for ago, weight in enumerate(SMOOTHING)
            )
        minutes = self._day(symbol, day)
        index, elapsed_ms = divmod(within, MINUTE_MS)
        return sum(weight * ticks_after(minutes, index - ago, elapsed_ms) for ago, weight in enumerate(SMOOTHING))

    def _index_source(self, symbol: str) -> str:
        """The symbol whose index is meant: contracts that follow another share its index."""
        return self._profiles[symbol].follows or symbol

    def index_price(self, symbol: str, time_ms: int) -> float:
        """Three minutes of last prices, smoothed, less the premium at which perpetuals trade."""
        self._check_time(symbol, time_ms)
        of = self._index_source(symbol)
        level = self._smooth_ticks(of, time_ms) * self._grids[of].tick
        level *= float(np.exp(-premium_at(self._premiums[of], time_ms)))
        return round(level, self.contracts[symbol].price_scale)

    def mark_price(self, symbol: str, time_ms: int) -> float:
        """Between the last price and the same smoothed, on the tick."""
        return self._mark(symbol, time_ms)

    def _compute_mark(self, symbol: str, time_ms: int) -> float:
        self._check_time(symbol, time_ms)
        last, smooth = self._last_ticks(symbol, time_ms), self._smooth_ticks(symbol, time_ms)
        return self._grids[symbol].price(max(round(MARK_SHARE * smooth + (1.0 - MARK_SHARE) * last), 1))

    def stats_24h(self, symbol: str, now_ms: int) -> Stats24h:
        """See `Market.stats_24h`: from the minute that was open 24 hours ago to the one that is open now, as far as it
        has come; of a younger contract, since its first trade.
        """
        grid = self._grids[symbol]
        start, end = self._span(symbol)
        now_ms = min(max(now_ms, start), end - 1)
        minute = now_ms // MINUTE_MS
        day, index = divmod(minute, MINUTES)
        row = cut_minute(self._day(symbol, day), index, now_ms % MINUTE_MS)
        high, low, volume, turnover = self._closed_24h(symbol, minute)
        return Stats24h(
            prev_price_24h=grid.price(self._last_ticks(symbol, now_ms - DAY_MS)),
            high=grid.price(max(high, int(row.prices[1, 0]))),
            low=grid.price(min(low, int(row.prices[2, 0]))),
            volume=grid.quantity(volume + int(row.sums[0, 0])),
            turnover=(turnover + int(row.sums[1, 0])) / TURNOVER_UNIT,
            prev_price_1h=grid.price(self._last_ticks(symbol, now_ms - HOUR_MS)),
        )

    def _compute_closed_24h(self, symbol: str, minute: int) -> tuple[int, int, int, int]:
        """High and low in ticks, volume in steps, turnover in units of the 1440 minutes before `minute`."""
        day, index = divmod(minute, MINUTES)
        first = max(index - MINUTES, self._span(symbol)[0] // MINUTE_MS - day * MINUTES)
        parts = [(self._day(symbol, day), max(first, 0), index)]
        if first < 0:
            parts.append((self._day(symbol, day - 1), first + MINUTES, MINUTES))
        high, low, volume, turnover = 0, _HIGHEST, 0, 0
        for of, begin, stop in parts:
            if begin < stop:
                high = max(high, int(of.high[begin:stop].max()))
                low = min(low, int(of.low[begin:stop].min()))
                volume += int(of.volume[begin:stop].sum())
                turnover += int(of.turnover[begin:stop].sum())
        return high, low, volume, turnover

    def book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        """See `Market.book`: sizes and spread of the second, around the last price of the millisecond."""
        return self._books(symbol, time_ms, depth)

    def _compute_book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        self._check_time(symbol, time_ms)
        of = self.contracts[symbol], self._profiles[symbol], self._grids[symbol]
        ticks = self._last_ticks(symbol, time_ms)
        if depth == 1:
            return order_book.best_levels(self.seed, *of, ticks, time_ms)
        return order_book.levels(self.seed, *of, ticks, time_ms, depth)

    def open_interest(self, symbol: str, time_ms: int) -> float:
        return funding.open_interest(self.seed, self.contracts[symbol], self._profiles[symbol], time_ms)

    # Candles of what is not traded

    def reference_bars(
        self, symbol: str, kind: Reference, interval: str, start_ms: int, end_ms: int, now_ms: int
    ) -> Bars:
        """See `Market.reference_bars`."""
        first, end = self._span(symbol)
        edges = edges_of(interval, max(start_ms, start_of(interval, first)), min(end_ms - 1, now_ms, end - 1))
        if len(edges) < 2 or now_ms < first:
            return np.empty((0, 5))
        # A contract that follows another is older than neither its leader nor its own first minute.
        begin, stop = max(int(edges[0]), first), min(int(edges[-1]), end)
        source = symbol if kind is Reference.MARK else self._index_source(symbol)
        minutes = self.bars(source, "1", begin - _LOOK_BACK_MS, stop, now_ms)
        if kind is Reference.MARK:
            table = reference_candles(minutes, marks, edges)
        elif kind is Reference.INDEX:
            table = reference_candles(minutes, lambda rows: indices(rows, self._premiums[source]), edges)
        else:
            own = minutes if source == symbol else self.bars(symbol, "1", begin - _LOOK_BACK_MS, stop, now_ms)
            table = reference_candles(own, lambda rows: self._premium_minutes(rows, minutes, source), edges)
        if len(table) and now_ms < min(edges[-1], end):
            self._close_now(table, symbol, kind, now_ms)
        places = _PREMIUM_PLACES if kind is Reference.PREMIUM else self.contracts[symbol].price_scale
        if kind is Reference.MARK:
            grid = self._grids[symbol]
            table[:, 1:] = grid.prices(np.maximum(np.rint(table[:, 1:] / grid.tick), 1.0))
        return np.column_stack([table[:, :1], np.round(table[:, 1:], places)])

    def _close_now(self, table: Bars, symbol: str, kind: Reference, now_ms: int) -> None:
        """The open candle ends where the price of now is; its other minutes are whole."""
        price = self.mark_price(symbol, now_ms) if kind is Reference.MARK else self.index_price(symbol, now_ms)
        if kind is Reference.PREMIUM:
            price = self.last_price(symbol, now_ms) / price - 1.0
        table[-1, 4] = price
        table[-1, 2], table[-1, 3] = max(table[-1, 2], price), min(table[-1, 3], price)

    def _premium_minutes(self, own: Bars, leader: Bars, source: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Distance of the last price from the index at the begin and end of each minute, as a fraction."""
        opens, _, _, closes = indices(leader, self._premiums[source])
        at = np.searchsorted(leader[:, 0], own[:, 0])
        begin, end = own[:, OPEN] / opens[at] - 1.0, own[:, CLOSE] / closes[at] - 1.0
        return begin, np.maximum(begin, end), np.minimum(begin, end), end
