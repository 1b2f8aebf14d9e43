"""The library as a market of the past: `MarketData` whose clock stands at its newest candle. No exchange runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.models import Announcement, ContractStatus, Instrument, OrderBook, Rows, Ticker, Tickers
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.history import lives as lifetimes
from trading_assets.history.library import ContractList, Library
from trading_assets.history.lives import Life
from trading_assets.market.loading import resample

MARKET = "history"
_INTERVALS_MIN = (60, 120, 240, 480)
_LOOKED_AT_MS = 60 * DAY_MS
"""So much of the newest funding tells its interval."""


@dataclass(frozen=True)
class _Known:
    """What the library held when it was read."""

    stamp: tuple[int, int]
    identity: str
    lives: dict[str, Life]
    lists: dict[str, list[ContractList]]
    instruments: dict[str, Instrument]
    frames: dict[str, tuple[Timeframe, ...]]
    now_ms: int


class HistoryMarket:
    """See `trading_assets.core.ports.MarketData` and `PastMarket`. An import is seen by the next call.

    Candles of a timeframe are those that were imported on it; where it has none, they are made of shorter ones.

    Raises (every method):
        ConfigurationError: nothing was imported yet.
        StorageError: the library cannot be read.
    """

    def __init__(self, library: Library) -> None:
        self._library, self._lock = library, threading.Lock()
        self._read: _Known | None = None

    def now_ms(self) -> int:
        return self._known().now_ms

    def market(self) -> str:
        """`history` and the library's own name: research on one is never taken for that on another."""
        return f"{MARKET} {self._known().identity}"

    def finest_timeframe(self) -> Timeframe:
        return min((one for some in self._known().frames.values() for one in some), key=lambda one: one.ms)

    def instruments(self) -> Rows[Instrument]:
        """Every contract that was traded; one that had ended is closed, with its end as `delivery_ms`."""
        return Rows(self._known().instruments.values())

    def instruments_at(self, time_ms: int) -> list[Instrument]:
        """The contracts that were listed at a time, as they were then: trading."""
        known = self._known()
        return [_trading(one) for symbol, one in known.instruments.items() if known.lives[symbol].lives_at(time_ms)]

    def lives(self) -> dict[str, Life]:
        """The life of each contract."""
        return dict(self._known().lives)

    def described(self) -> str:
        """`imported: 38 coins, 6 of them ended, of 412 files (bybit-trades), library 3f2a81bc`."""
        known, files = self._known(), self._library.files()
        ended = sum(life.ended_ms is not None for life in known.lives.values())
        formats = ", ".join(sorted({one.format for one in files}))
        return (
            f"imported: {len(known.lives)} coins, {ended} of them ended, of {len(files)} files ({formats}), "
            f"library {known.identity}"
        )

    def delivery_prices(self) -> dict[str, float]:
        """The prices of settlement that imported lists tell."""
        lives = self._known().lives
        return {symbol: life.delivery_price for symbol, life in lives.items() if life.delivery_price is not None}

    def announcements(self) -> list[Announcement]:
        """Ends of contracts, and since when each was known, as far as imported lists tell."""
        lists = self._known().lists
        return [one for symbol in sorted(lists) for one in lifetimes.announced(symbol, lists[symbol])]

    def rules_known(self, symbol: str, as_of_ms: int) -> bool:
        """Whether tick and lot of the contract are those of the time; else they are assumed."""
        return lifetimes.rules_known(self._known().lists.get(symbol, ()), as_of_ms)

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """
        Raises:
            DataError: the library has no such contract.
        """
        known = self._known()
        if symbol not in known.frames:
            raise DataError(f"the library has no candles of {symbol}; import a file of it, see history status")
        found = Candles.empty(timeframe)
        for one in reversed(known.frames[symbol]):
            if timeframe.ms % one.ms:
                continue
            first = -(-start_ms // timeframe.ms) * timeframe.ms
            last = -(-end_ms // timeframe.ms) * timeframe.ms
            held = self._library.read(symbol, one, first, last)
            made = held if one is timeframe else resample(held, timeframe, last)
            found = _beside(found, made)
        return found.between(start_ms, end_ms).closed_by(known.now_ms)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return self._library.read_funding(symbol, start_ms, min(end_ms, self._known().now_ms + 1))

    def tickers(self) -> Tickers:
        _refuse("tickers")

    def ticker(self, symbol: str) -> Ticker:
        _refuse(f"ticker of {symbol}")

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        _refuse(f"order book of {symbol}")

    def close(self) -> None:
        """Nothing is open."""

    def _known(self) -> _Known:
        stamp = self._library.stamp
        with self._lock:
            if self._read is None or self._read.stamp != stamp:
                self._read = _read(self._library, stamp)
            return self._read


def _read(library: Library, stamp: tuple[int, int]) -> _Known:
    spans, lists, units = library.spans(), library.contracts(), library.units()
    found = lifetimes.lives(spans, lists)
    if not found:
        raise ConfigurationError(
            f"the library {library.root} has no candles: bring some with trading-assets history import PATH"
        )
    now = lifetimes.clock_ms(found)
    with_funding = {span.symbol: span.end_ms for span in spans if span.timeframe == "funding"}

    def interval(symbol: str) -> int | None:
        end = with_funding.get(symbol)
        return None if end is None else _interval_min(library.read_funding(symbol, end - _LOOKED_AT_MS, end))

    instruments = {
        symbol: lifetimes.instrument(life, lists.get(symbol, ()), units.get(symbol), interval(symbol))
        for symbol, life in found.items()
    }
    frames: dict[str, tuple[Timeframe, ...]] = {}
    for span in spans:
        if span.timeframe != "funding":
            frames[span.symbol] = (*frames.get(span.symbol, ()), Timeframe(span.timeframe))
    frames = {symbol: tuple(sorted(some, key=lambda one: one.ms)) for symbol, some in frames.items()}
    return _Known(stamp, library.prepare(), found, lists, instruments, frames, now)


def _interval_min(funding: Funding) -> int | None:
    """The commonest distance of payments, minutes."""
    if len(funding) < 2:
        return None
    distances, counts = np.unique(np.diff(funding.time_ms) // 60_000, return_counts=True)
    commonest = int(distances[counts.argmax()])
    return commonest if commonest in _INTERVALS_MIN else None


def _trading(one: Instrument) -> Instrument:
    return replace(one, status=ContractStatus.TRADING, delivery_ms=None)


def _beside(first: Candles, others: Candles) -> Candles:
    """The first candles, and others where there is none of them."""
    if not len(first):
        return others
    if not len(others):
        return first
    new = others.select(~np.isin(others.start_ms, first.start_ms))
    if not len(new):
        return first
    order = np.argsort(np.concatenate([first.start_ms, new.start_ms]), kind="stable")

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(first, name), getattr(new, name)])[order]

    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    return Candles(first.timeframe, **{name: joined(name) for name in names})


def _refuse(what: str) -> NoReturn:
    raise DataError(
        f"a market of the past has no {what}: nothing is traded on it. Choose another venue (TRADING_ASSETS_VENUE), "
        "with a home of its own"
    )
