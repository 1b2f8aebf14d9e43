"""The replay market: prices of any time from recorded candles, read by `recording`, merged by `recorded_candles`.

A symbol is listed from its first candle on; before it there is no price. Behind its last one there are no candles. A
symbol that was not traded for a day before the end of the recording was delisted: it is delivered then, or when the
file of instruments says so, and its end is announced a week before. Where the recording itself ends the price stands
still.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trading_assets.core.candles import ENDED_BEFORE_MS
from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, iso
from trading_assets.simulator.market.base import START, Bars
from trading_assets.simulator.market.calendar import edges_of, start_of
from trading_assets.simulator.market.intrabar_path import minutes_of_day
from trading_assets.simulator.market.minute_market import MinuteMarket
from trading_assets.simulator.market.minutes import MINUTES, DayOfMinutes
from trading_assets.simulator.market.noise import stream
from trading_assets.simulator.market.recorded_candles import merged
from trading_assets.simulator.market.recording import read
from trading_assets.simulator.market.replay_rules import listings
from trading_assets.simulator.market.rows import Rows, cut_minute, joined, minute_rows

_DAYS_KEPT = 800
"""A day of minutes is 52 kB. The recorded candles themselves are 42 bytes a candle."""

_CONSTANT_RATE = 0.0001
"""Of eight hours, where no funding is recorded."""

ANNOUNCED_MS = 7 * DAY_MS
"""A delisting is announced so long before it."""

_WARM_UP_SHARE, _WARM_UP_MS = 0.25, 14 * DAY_MS


class ReplayMarket(MinuteMarket):
    """The market of the candles in `paths`; `seed` draws what they do not say: the order of extremes within candles,
    the book around the last price, the premium over the index, open interest.

    Fulfils `trading_assets.simulator.market.base.Market`.

    Attributes:
        content: names the recorded contents; markets with the same content and seed are the same.
        first_ms, end_ms: [first, end) of all that is recorded.

    Raises:
        ConfigurationError: the files cannot be read or contradict each other.
        DataError: (methods that give a price) the time lies before the symbol's first candle.
        KeyError: (every method that takes a symbol) there is no such contract.
    """

    def __init__(self, paths: Sequence[Path], seed: int = 7) -> None:
        recording = read(paths)
        super().__init__(seed, listings(recording))
        self.content = recording.content
        # Symbol by symbol, so that what was read is given back as soon as it is merged.
        self._recorded = {
            symbol: merged(symbol, recording.series.pop(symbol), grid) for symbol, grid in self._grids.items()
        }
        self._spans = {
            symbol: (int(recorded.spans[0, 0]) * MINUTE_MS, int(recorded.spans[-1, 1]) * MINUTE_MS)
            for symbol, recorded in self._recorded.items()
        }
        self.finest_minutes = min(int(recorded.length.min()) for recorded in self._recorded.values())
        self.first_ms = min(first for first, _ in self._spans.values())
        self.end_ms = max(end for _, end in self._spans.values())
        self._settled_at: dict[str, float] = {}
        for symbol in self._recorded:
            rules = recording.rules.get(symbol)
            self._end(symbol, *((rules.delivery_ms, rules.delivery_price) if rules is not None else (None, None)))
        self._funding = {
            symbol: (rows.times_ms.tolist(), rows.rates.tolist()) for symbol, rows in recording.funding.items()
        }
        self._streams = {symbol: stream(seed, "replay", symbol) for symbol in self.contracts}
        self._kept_day = lru_cache(_DAYS_KEPT)(self._compute_day)

    def _end(self, symbol: str, told_ms: int | None, price: float | None) -> None:
        """Deliver a contract that was delisted within the recording: when that is told, else with its last trade."""
        first_ms, stop_ms = self._spans[symbol]
        recorded = self._recorded[symbol]
        traded = np.flatnonzero(recorded.rows.sums[0])
        if told_ms is None or told_ms <= first_ms:
            last = int(traded[-1]) if len(traded) else len(recorded.start) - 1
            told_ms, price = int(recorded.start[last] + recorded.length[last]) * MINUTE_MS, None
            if self.end_ms - told_ms < ENDED_BEFORE_MS:
                return
        contract = replace(
            self.contracts[symbol], delivery_ms=told_ms, announced_ms=max(told_ms - ANNOUNCED_MS, first_ms)
        )
        self.contracts = {**self.contracts, symbol: contract}
        self._spans[symbol] = first_ms, min(stop_ms, -(-told_ms // MINUTE_MS) * MINUTE_MS)
        if price is not None:
            self._settled_at[symbol] = price

    def mark_price(self, symbol: str, time_ms: int) -> float:
        """See `Market.mark_price`. From the delivery on it is the price of settlement, where that was told."""
        if symbol in self._settled_at and time_ms >= self.contracts[symbol].delivery_ms:
            return self._settled_at[symbol]
        return super().mark_price(symbol, time_ms)

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """[first, end) of what is recorded of each symbol, UTC ms."""
        return dict(self._spans)

    @property
    def start_ms(self) -> int:
        """Where a clock begins that was told nothing: after a quarter of the recording, but at most two weeks."""
        history = min(int((self.end_ms - self.first_ms) * _WARM_UP_SHARE), _WARM_UP_MS)
        return max((self.first_ms + history) // HOUR_MS * HOUR_MS, self.first_ms)

    # Candles

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.bars`. A candle that lies whole in a gap of the recording does not exist."""
        first_ms, stop_ms = self._spans[symbol]
        last = min(end_ms - 1, now_ms, stop_ms - 1)
        edges = edges_of(interval, max(start_ms, start_of(interval, first_ms)), last)
        if now_ms < first_ms or len(edges) < 2:
            return np.empty((0, 7))
        begin = max(int(edges[0]), first_ms) // MINUTE_MS
        now = min(now_ms, stop_ms)
        closed = min(now // MINUTE_MS, int(edges[-1]) // MINUTE_MS)
        starts, rows = self._closed_rows(symbol, begin, closed, interval)
        if closed * MINUTE_MS < min(now_ms + 1, int(edges[-1]), stop_ms) and self._is_recorded(symbol, closed):
            day, index = divmod(closed, MINUTES)
            rows = joined([rows, cut_minute(self._day(symbol, day), index, now_ms - closed * MINUTE_MS)])
            starts = np.append(starts, closed)
        candle = np.searchsorted(edges, starts * MINUTE_MS, side="right") - 1
        held, groups = np.unique(candle, return_index=True)
        if len(groups) == 0:
            return np.empty((0, 7))
        return rows.grouped(groups).bars(self._grids[symbol], edges[:-1][held])

    def candles(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.candles`: where 5m candles are recorded there are none of 1m, though there are prices."""
        bars = self.bars(symbol, interval, start_ms, end_ms, now_ms)
        recorded = self._recorded[symbol]
        if not interval.isdigit() or not len(bars):
            return bars
        starts = bars[:, START].astype(np.int64) // MINUTE_MS
        place = np.maximum(np.searchsorted(recorded.start, starts, side="right") - 1, 0)
        # A candle that begins in a gap is made of those behind the gap.
        place += recorded.start[place] + recorded.length[place] <= starts
        return bars[recorded.length[np.minimum(place, len(recorded.length) - 1)] <= int(interval)]

    def _closed_rows(self, symbol: str, begin: int, end: int, interval: str) -> tuple[npt.NDArray[np.int64], Rows]:
        """Starts and rows of the minutes [begin, end): recorded candles where they fit the interval, else minutes."""
        recorded = self._recorded[symbol]
        part = recorded.part(begin, end)
        starts, lengths = recorded.start[part], recorded.length[part]
        if not len(starts):
            return starts, joined([])
        step = int(interval) if interval.isdigit() else MINUTES
        if starts[0] < begin or np.any(step % lengths):
            return self._minutes(symbol, begin, end)
        whole = Rows(recorded.rows.prices[:, part], recorded.rows.sums[:, part])
        if starts[-1] + lengths[-1] <= end:
            return starts, whole
        late, rest = self._minutes(symbol, int(starts[-1]), end)
        return np.append(starts[:-1], late), joined([whole.part(0, len(whole) - 1), rest])

    def _minutes(self, symbol: str, begin: int, end: int) -> tuple[npt.NDArray[np.int64], Rows]:
        """The recorded minutes of [begin, end)."""
        starts, parts = [], []
        for first, stop in self._recorded[symbol].spans.tolist():
            here, there = max(first, begin), min(stop, end)
            for day in range(here // MINUTES, -(-there // MINUTES)) if here < there else ():
                one, two = max(here - day * MINUTES, 0), min(there - day * MINUTES, MINUTES)
                starts.append(np.arange(one, two) + day * MINUTES)
                parts.append(minute_rows(self._day(symbol, day), one, two))
        return np.concatenate(starts) if starts else np.empty(0, dtype=np.int64), joined(parts)

    def _is_recorded(self, symbol: str, minute: int) -> bool:
        return any(first <= minute < stop for first, stop in self._recorded[symbol].spans.tolist())

    # Prices

    def _check_time(self, symbol: str, time_ms: int) -> None:
        first_ms, stop_ms = self._spans[symbol]
        if time_ms < first_ms:
            raise DataError(
                f"{symbol} is recorded from {iso(first_ms)} to {iso(stop_ms)}, asked for is its price at "
                f"{iso(time_ms)}: set the clock into the recording"
            )

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        """See `Market.funding_rate`: as recorded, else 0.01 % for eight hours."""
        times, rates = self._funding.get(symbol, ([], []))
        place = bisect_left(times, funding_ms)
        if place < len(times) and times[place] == funding_ms:
            return float(rates[place])
        return round(_CONSTANT_RATE * self.contracts[symbol].funding_interval_min / 480, 8)

    # What is kept

    def _day(self, symbol: str, day: int) -> DayOfMinutes:
        return self._kept_day(symbol, day)

    def _span(self, symbol: str) -> tuple[int, int]:
        return self._spans[symbol]

    def _compute_day(self, symbol: str, day: int) -> DayOfMinutes:
        return minutes_of_day(self._recorded[symbol], self._streams[symbol], day)
