"""The candles of a position for the live page: those of the store, and the newest ones asked of the venue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.ports import MarketData
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import Timeframe, floor_ms
from trading_assets.market.opening import open_local_candle_store
from trading_assets.venues import open_market_data

BARS = 90
KEPT_S = 5.0
"""What was asked is not asked again so soon, by however many browsers."""

MOST_KEPT = 200

_log = get_logger(__name__)


class Charts:
    """Candles by symbol and timeframe, of one account's venue. Safe for threads: one asks at a time.

    Args:
        open_source: the venue's public data; default: as the settings say.
    """

    def __init__(self, settings: Settings, open_source: Callable[[], MarketData] | None = None) -> None:
        self._store = open_local_candle_store(settings)
        self._open = open_source or (lambda: open_market_data(settings))
        self._source: MarketData | None = None
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, Timeframe], tuple[float, Candles]] = {}

    def candles(self, symbol: str, timeframe: Timeframe, now_ms: int, *, asks: bool) -> list[list[float]]:
        """The newest candles that have closed: start (UTC s), open, high, low, close.

        Args:
            asks: whether the venue may be asked for what the store does not have.
        """
        with self._lock:
            key = (symbol, timeframe)
            at, found = self._kept.get(key, (0.0, Candles.empty(timeframe)))
            if not at or time.monotonic() - at > KEPT_S:
                found = self._read(symbol, timeframe, now_ms, asks=asks)
                self._kept[key] = (time.monotonic(), found)
                while len(self._kept) > MOST_KEPT:
                    self._kept.pop(next(iter(self._kept)))
        columns = (found.start_ms // 1000, found.open, found.high, found.low, found.close)
        return [list(row) for row in zip(*(np.asarray(one).tolist() for one in columns), strict=True)]

    def _read(self, symbol: str, timeframe: Timeframe, now_ms: int, *, asks: bool) -> Candles:
        end_ms = floor_ms(now_ms, timeframe.ms)
        start_ms = end_ms - BARS * timeframe.ms
        before = self._kept.get((symbol, timeframe))
        held = self._stored(symbol, timeframe, start_ms, end_ms)
        if before is not None and len(before[1]) and (not len(held) or before[1].start_ms[-1] > held.start_ms[-1]):
            held = before[1].between(start_ms, end_ms)
        after_ms = int(held.start_ms[-1]) + timeframe.ms if len(held) else start_ms
        if not asks or after_ms >= end_ms:
            return held
        try:
            if self._source is None:
                self._source = self._open()
            new = self._source.candles(symbol, timeframe, after_ms, end_ms)
        except TradingAssetsError as error:
            _log.debug("the newest candles of %s are not on the page: %s", symbol, error)
            return held
        return _joined(held, new)

    def _stored(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        try:
            return self._store.read(symbol, timeframe, start_ms, end_ms)
        except TradingAssetsError as error:
            _log.debug("the stored candles of %s are not on the page: %s", symbol, error)
            return Candles.empty(timeframe)


def _joined(one: Candles, other: Candles) -> Candles:
    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    return Candles(one.timeframe, *(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))
