"""Candles, funding and what a strategy sees, for research: the pipeline's loaders on any range of a source."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import pandas as pd

from trading_assets.backtesting.kernel.panel import Window
from trading_assets.core.errors import DataError
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, floor_ms, iso
from trading_assets.market import lookback
from trading_assets.market.loading import load_strategy_data
from trading_assets.research.frames import Moment, candles_frame, funding_frame, to_moment_ms, to_symbol, to_timeframe
from trading_assets.research.sources import Home, Source, open_home, require_held

_FUNDING_BEFORE_MS = 3 * DAY_MS
"""Payments are read from so long before a range on: a strategy may look at the last one before it."""


@dataclass(frozen=True)
class Range:
    """A range of whole bars of a symbol, UTC ms: [start, end).

    `as_of_ms` is the end that was named: what lies between the last close and it is known, too (payments, other
    timeframes), as in the pipeline.
    """

    symbol: str
    timeframe: Timeframe
    start_ms: int
    end_ms: int
    as_of_ms: int

    @property
    def decided_ms(self) -> int:
        """The first bar that data are loaded for: of a pipeline's window where the pipeline begins, else `start_ms`."""
        is_window = self.start_ms == self.end_ms - lookback.window_ms(self.timeframe) and self.as_of_ms % HOUR_MS == 0
        return lookback.first_decided_ms(self.as_of_ms - HOUR_MS, self.timeframe) if is_window else self.start_ms


@cache
def _default_home(_path: str) -> Home:
    return open_home()


def source_or_home(source: Source | None) -> Source:
    """The source, or the home of the settings."""
    if source is not None:
        return source
    from trading_assets.core.settings import load_settings  # noqa: PLC0415

    return _default_home(str(load_settings().home))


def to_range(
    source: Source, symbol: str, timeframe: str | Timeframe, start: Moment | None, end: Moment | None
) -> Range:
    """The bars that are meant: by default as many as the pipeline's window has, up to the newest that is held."""
    of, symbol = to_timeframe(timeframe), to_symbol(symbol)
    as_of_ms = source.newest_ms(symbol, of) if end is None else to_moment_ms(end)
    end_ms = floor_ms(as_of_ms, of.ms)
    start_ms = end_ms - lookback.window_ms(of) if start is None else -(-to_moment_ms(start) // of.ms) * of.ms
    return Range(symbol, of, start_ms, end_ms, as_of_ms)


def candles(
    symbol: str,
    timeframe: str | Timeframe,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    source: Source | None = None,
) -> pd.DataFrame:
    """Closed candles of a symbol.

    Args:
        symbol: such as `"ETHUSDT"`.
        timeframe: `"1m"`, `"3m"`, `"5m"`, `"15m"`, `"30m"`, `"60m"`, `"120m"`, `"240m"` or `"1D"`.
        start, end: candles that open from `start` on and close by `end`; by default the pipeline's backtest window up
            to the newest candle that is held.
        source: where they are read; by default the home of the settings.

    Returns:
        Shape (n, 6): open, high, low, close (USDT), volume (base coin), turnover (USDT); index `open_time`, UTC. Where
        the venue has no candle there is no row. `attrs` has source, symbol and timeframe.

    Raises:
        DataError: nothing is known of a part of the range; the message says which, and how to get it.

    Example:
        ```python
        frame = research.candles("ETHUSDT", "15m", "2026-02-01", "2026-02-08")
        frame["close"].pct_change().std()
        ```
    """
    read_of = source_or_home(source)
    of = to_range(read_of, symbol, timeframe, start, end)
    require_held(read_of, of.symbol, of.timeframe, of.start_ms, of.end_ms)
    needs = DataNeeds(candles={of.timeframe: 0})
    if of.timeframe is lookback.stored_timeframe(of.timeframe):
        found = read_of.reader.read(of.symbol, of.timeframe, of.start_ms, of.end_ms).closed_by(of.end_ms)
    else:  # put together as for a strategy that asks for it
        data = load_strategy_data(read_of.reader, of.symbol, Timeframe.M240, needs, of.start_ms, of.end_ms)
        found = data.other[of.timeframe]
    frame = candles_frame(found)
    frame.attrs = {"source": read_of.name, "symbol": of.symbol, "timeframe": of.timeframe.value}
    return frame


def funding(
    symbol: str, start: Moment | None = None, end: Moment | None = None, *, source: Source | None = None
) -> pd.DataFrame:
    """Funding payments of a symbol.

    Args:
        start, end: payments in [start, end); by default 45 days up to the newest candle that is held.

    Returns:
        Shape (n, 1): `rate`, the fraction of notional that longs pay shorts; index `time`, UTC.

    Example:
        ```python
        research.funding("ETHUSDT", "2026-02-01", "2026-03-01")["rate"].sum() * 100  # percent of a month
        ```
    """
    read_of, symbol = source_or_home(source), to_symbol(symbol)
    end_ms = read_of.newest_ms(symbol, Timeframe.M60) if end is None else to_moment_ms(end)
    start_ms = end_ms - lookback.FUNDING_REACH_MS if start is None else to_moment_ms(start)
    frame = funding_frame(read_of.reader.read_funding(symbol, start_ms, end_ms))
    frame.attrs = {"source": read_of.name, "symbol": symbol}
    return frame


@dataclass(frozen=True)
class Loaded:
    """What a strategy sees of a range, warm-up included, and its bars that count."""

    range: Range
    data: StrategyData
    window: Window


def load(source: Source, of: Range, needs: DataNeeds, held_back_pct: float) -> Loaded:
    """As the pipeline loads the window of an hour, for any range.

    Raises:
        DataError: nothing is known of a part of the range, or there is no candle in it.
    """
    require_held(source, of.symbol, of.timeframe, of.start_ms, of.end_ms)
    wanted = replace(needs, funding=True)
    _warn_of_short_warm_up(source, of, needs)
    data = load_strategy_data(source.reader, of.symbol, of.timeframe, wanted, of.decided_ms, of.as_of_ms)
    # A range may be longer than any window of the pipeline, whose payments `load_strategy_data` reads.
    since = min(of.as_of_ms - lookback.FUNDING_REACH_MS, of.start_ms - _FUNDING_BEFORE_MS)
    payments = source.reader.read_funding(of.symbol, since, of.as_of_ms)
    payments.protect()
    data = replace(data, funding=payments, max_price=source.max_price(of.symbol, of.as_of_ms))
    window = Window.from_data(data, of.start_ms, held_back_pct)
    if not len(window.candles):
        raise DataError(
            f"{source.name}: the venue has no {of.timeframe.value} candle of {of.symbol} from {iso(of.start_ms)} to "
            f"{iso(of.end_ms)}: was it listed then?"
        )
    return Loaded(of, data, window)


def _warn_of_short_warm_up(source: Source, of: Range, needs: DataNeeds) -> None:
    bars = needs.warm_up_bars(of.timeframe)
    missing = source.missing(of.symbol, of.timeframe, of.start_ms - bars * of.timeframe.ms, of.start_ms)
    if missing:
        lacking = sum(high - low for low, high in missing) // of.timeframe.ms
        warnings.warn(
            f"{lacking} of {bars} bars of warm-up before {iso(of.start_ms)} are not held: indicators differ from those "
            "of the pipeline at first",
            stacklevel=5,
        )
