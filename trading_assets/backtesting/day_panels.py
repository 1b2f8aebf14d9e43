"""Coins side by side in panels: the windows of the hours of a day together, and each hour alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trading_assets.backtesting.kernel.panel import HourWindow, Panel, alike
from trading_assets.backtesting.kernel.sweep import PanelOfHour
from trading_assets.core.candles import Candles, Funding, IntArray
from trading_assets.core.errors import DataError
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.market.loading import OpenedData
from trading_assets.market.lookback import first_decided_ms

MAX_BARS_IN_MEMORY = 1_000_000
"""So many candles are in memory at once, 56 bytes each: a month of 1m candles of 77 coins would be 4 million."""

OpenedByWarmUp = Mapping[str, Mapping[int, OpenedData]]
"""By symbol and bars of warm-up."""

KnownLast = Mapping[int, StrategyData] | DataError
"""A coin's data by bars of warm-up, or why there are none."""


def window_start_ms(hour_ms: int, timeframe: Timeframe) -> int:
    """Open of the first bar of the backtest window that ends at the hour's as-of, UTC ms."""
    return floor_ms(as_of_ms(hour_ms), timeframe.ms) - timeframe.window_bars * timeframe.ms


class DayPanels:
    """Coins with equal bars in hours of a day, side by side: the windows of all hours, and each hour alone.

    Attributes:
        panel: on `data`, which may reach farther than the last hour; on what was known then where there is one alone.
        hours, symbols: of each window of `panel`.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        hours_of: Mapping[str, Sequence[int]],
        data: Mapping[str, StrategyData],
        opened: OpenedByWarmUp,
        warm_up: int,
        held_back: float,
        end_hour: int,
    ) -> None:
        """
        Args:
            hours_of: the ascending hours of each symbol.
            data: see `known_last`, with its `end_hour`.

        Raises:
            DataError: of an hour that has no data.
        """
        self.timeframe = timeframe
        self._hours_of, self._opened, self._warm_up, self._held_back = hours_of, opened, warm_up, held_back
        self._panels: dict[tuple[object, ...], Panel] = {}
        self.symbols, self.hours = list[str](), list[int]()
        windows = []
        for coin, (symbol, hours) in enumerate(hours_of.items()):
            max_prices = opened[symbol][warm_up].max_prices
            for hour in hours:
                self.symbols.append(symbol)
                self.hours.append(hour)
                max_price = max_prices.get(hour, data[symbol].max_price)
                windows.append(HourWindow(coin, window_start_ms(hour, timeframe), as_of_ms(hour), max_price))
        first = min(self.hours)
        members = [data[symbol] for symbol in hours_of]
        if first < max(self.hours):
            self.panel = self._panel(members, first).over(windows)
        elif first < end_hour:
            self.panel = self._alone(first, None)
        else:
            limited = [replace(one, max_price=of.max_price) for one, of in zip(members, windows, strict=True)]
            self.panel = self._panel(limited, first)

    def panel_of(self, needs: DataNeeds) -> PanelOfHour:
        """Gives the panel of an hour alone, on what was known then, as far as `needs` declares."""
        return lambda hour_ms, one=None: self._alone(hour_ms, one).seeing(needs)

    def _alone(self, hour_ms: int, one: int | None) -> Panel:
        coins = [symbol for symbol, hours in self._hours_of.items() if hour_ms in hours]
        if one is not None:
            coins = [coins[one % len(coins)]]
        key = hour_ms, *coins
        if key not in self._panels:
            members = [self._opened[symbol][self._warm_up](hour_ms) for symbol in coins]
            self._panels[key] = self._panel(members, hour_ms)
        return self._panels[key]

    def _panel(self, members: Sequence[StrategyData], first_hour_ms: int) -> Panel:
        start_ms = window_start_ms(first_hour_ms, self.timeframe)
        return Panel.from_members(members, start_ms, self._held_back, first_decided_ms(first_hour_ms, self.timeframe))


def groups(
    symbols: Sequence[str], hours: Sequence[int], timeframe: Timeframe, bars_of_hour: int
) -> Iterator[Sequence[str]]:
    """The symbols in parts whose candles are in memory together; all of them but for a long range of short candles."""
    if not symbols:
        return
    bars = (hours[-1] - hours[0]) // timeframe.ms + bars_of_hour
    parts = -(-len(symbols) // max(MAX_BARS_IN_MEMORY // bars, 1))
    for part in range(parts):
        yield symbols[part::parts]


def known_last(opened: Mapping[int, OpenedData], hours: Sequence[int], end_hour: int) -> KnownLast:
    """A coin's data of some hours of a day: as of an hour that coins share, so that those with the same bars go into
    one panel whichever their own hours are.

    Args:
        end_hour: the hour, not before the last of `hours`; where it has no data, that last one is taken.
    """
    try:
        return {bars: data_at.load(end_hour) for bars, data_at in opened.items()}
    except DataError as error:
        return error if end_hour == hours[-1] else known_last(opened, hours, hours[-1])


def filled_up(data: Mapping[str, KnownLast], last_hours: Mapping[str, int]) -> dict[str, KnownLast]:
    """The data, and where a coin's end earlier than those of others, its last candle again and again for the bars that
    they have: then it goes into their panel. Its own windows end before.

    Args:
        last_hours: the last hour of each symbol.
    """
    found = dict(data)
    usable = {symbol: of_one for symbol, of_one in data.items() if not isinstance(of_one, DataError)}
    together = sorted(with_equal_times({symbol: of_one[max(of_one)] for symbol, of_one in usable.items()}), key=len)
    for place, symbols in enumerate(together):
        others = [usable[larger[0]] for larger in reversed(together[place + 1 :])]
        for symbol in symbols:
            of_one, known_ms = usable[symbol], as_of_ms(last_hours[symbol])
            for like in others:
                filled = {bars: _filled(one, like[bars], known_ms) for bars, one in of_one.items() if bars in like}
                whole = {bars: one for bars, one in filled.items() if one is not None}
                if len(whole) == len(of_one):
                    found[symbol] = whole
                    break
    return found


def _filled(one: StrategyData, like: StrategyData, known_ms: int) -> StrategyData | None:
    """The data with the times of `like`; None where it has others, or lacks what was known at `known_ms`."""
    if one.other.keys() != like.other.keys():
        return None
    own = _filled_candles(one.candles, like.candles, known_ms)
    other = {of: _filled_candles(candles, like.other[of], known_ms) for of, candles in one.other.items()}
    times, payments = like.funding.time_ms, len(one.funding)
    rates = np.append(one.funding.rate, np.zeros(max(len(times) - payments, 0)))
    funding = Funding(times, rates)
    funding.protect()
    known = {of: candles for of, candles in other.items() if candles is not None}
    if own is None or len(known) < len(other) or not _goes_on(one.funding.time_ms, times, times, known_ms - 1):
        return None
    return replace(one, candles=own, other=known, funding=funding)


def _filled_candles(candles: Candles, like: Candles, known_ms: int) -> Candles | None:
    bars = len(candles)
    if not bars or not _goes_on(candles.start_ms, like.start_ms, like.end_ms, known_ms):
        return None
    if bars == len(like):
        return candles
    longer = replace(candles.select(np.minimum(np.arange(len(like)), bars - 1)), start_ms=like.start_ms)
    longer.protect()
    return longer


def _goes_on(times: IntArray, longer: IntArray, known_from: IntArray, known_ms: int) -> bool:
    """Whether `longer` begins with `times`, and goes on with what was not known yet."""
    count = len(times)
    begins = count <= len(longer) and np.array_equal(times, longer[:count])
    return begins and (count == len(longer) or int(known_from[count]) > known_ms)


def split(data: Mapping[str, KnownLast], least: int) -> list[list[str]]:
    """The symbols in parts that fill a panel each, at least so many parts where there are symbols enough.

    Args:
        data: see `known_last`.
    """
    members = {symbol: of_one[max(of_one)] for symbol, of_one in data.items() if not isinstance(of_one, DataError)}
    parts = [[symbol] for symbol in data if symbol not in members]
    parts += with_equal_times(members)
    while len(parts) < least and (largest := max(parts, key=len, default=[])) and len(largest) > 1:
        parts.remove(largest)
        parts += [largest[::2], largest[1::2]]
    return parts


def with_equal_times(data: Mapping[str, StrategyData]) -> Iterator[list[str]]:
    """The symbols whose times are equal, in parts that fill a panel each."""
    symbols = list(data)
    for places in alike([data[symbol] for symbol in symbols]):
        yield [symbols[place] for place in places]
