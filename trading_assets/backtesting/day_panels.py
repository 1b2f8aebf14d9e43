"""Coins side by side in panels: the windows of the hours of a day together, and each hour alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trading_assets.backtesting.kernel.panel import HourWindow, Panel, alike, panel_count
from trading_assets.backtesting.kernel.sweep import PanelOfHour
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe, as_of_ms, floor_ms
from trading_assets.market.loading import OpenedData
from trading_assets.market.lookback import first_decided_ms

MAX_BARS_IN_MEMORY = 1_000_000
"""So many candles are in memory at once, 56 bytes each: a month of 1m candles of 77 coins would be 4 million."""

OpenedByWarmUp = Mapping[str, Mapping[int, OpenedData]]
"""By symbol and bars of warm-up."""


def window_start_ms(hour_ms: int, timeframe: Timeframe) -> int:
    """Open of the first bar of the backtest window that ends at the hour's as-of, UTC ms."""
    return floor_ms(as_of_ms(hour_ms), timeframe.ms) - timeframe.window_bars * timeframe.ms


class DayPanels:
    """Coins with equal bars in hours of a day, side by side: the windows of all hours, and each hour alone.

    Attributes:
        panel: on the data of the last hour.
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
    ) -> None:
        self.timeframe = timeframe
        self._hours_of, self._opened, self._warm_up, self._held_back = hours_of, opened, warm_up, held_back
        self._panels: dict[tuple[object, ...], Panel] = {}
        self.symbols, self.hours = list[str](), list[int]()
        first = min(hours[0] for hours in hours_of.values())
        panel = self._panel([data[symbol] for symbol in hours_of], first)
        windows = []
        for coin, (symbol, hours) in enumerate(hours_of.items()):
            max_prices = opened[symbol][warm_up].max_prices
            for hour in hours:
                self.symbols.append(symbol)
                self.hours.append(hour)
                max_price = max_prices.get(hour, data[symbol].max_price)
                windows.append(HourWindow(coin, window_start_ms(hour, timeframe), as_of_ms(hour), max_price))
        self.panel = panel if len(set(self.hours)) == 1 else panel.over(windows)

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


def split(symbols: Sequence[str], bars: int, least: int) -> Iterator[Sequence[str]]:
    """The symbols in parts that fill a panel each, at least so many parts."""
    parts = max(panel_count(len(symbols), bars), min(least, len(symbols)))
    for part in range(parts):
        yield symbols[part::parts]


def with_equal_times(data: Mapping[str, StrategyData]) -> Iterator[Sequence[str]]:
    """The symbols whose times are equal, in parts that fill a panel each."""
    symbols = list(data)
    for places in alike([data[symbol] for symbol in symbols]):
        yield [symbols[place] for place in places]
