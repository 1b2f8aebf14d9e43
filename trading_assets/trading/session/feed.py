"""The candles of a session: the stream brings them, REST replaces what the stream does not bring."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from trading_assets.core import counters
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.streams import CandleStream, ClosedCandle, StreamEvent, Topic, Up
from trading_assets.trading.session.candle_cache import CandleCache, DataRequest, Failures
from trading_assets.trading.session.clock import Timer, VenueClock
from trading_assets.trading.session.log import SessionLog
from trading_assets.trading.session.watchlist import LATE_AGAIN_S, Coin

MISSED_CLOSES = 2
"""The stream is rebuilt after this number of closes in a row of which it did not bring all candles."""


class CandleFeed:
    """Keeps the candle cache complete. Not safe for threads; the stream puts its events into `events`.

    Args:
        reading: what is entered around each read by REST.

    Attributes:
        is_up: whether the stream is connected.
        btc: the venue's symbol of the BTC perpetual.
    """

    def __init__(
        self,
        cache: CandleCache,
        stream: CandleStream,
        events: queue.SimpleQueue[StreamEvent],
        clock: VenueClock,
        log: SessionLog,
        reading: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._reading = reading
        self._cache, self._stream, self._events, self._clock, self._log = cache, stream, events, clock, log
        self.btc = cache.btc
        self.is_up = False
        self._missed = 0
        self._funding = Timer(LATE_AGAIN_S)

    def warm_up(self, now_ms: int) -> int:
        """Read every series by REST. Return the number of candle series."""
        topics = self._cache.topics
        self._log.warn_once("could not be read", self._cache.catch_up(topics, now_ms))
        due = self._cache.funding_due(now_ms)
        self._log.warn_once("could not be read", self._cache.refresh_funding(due, now_ms))
        return len(topics)

    def receive(self, wait_s: float) -> None:
        """Take the events that the stream has delivered; wait at most this long for the first."""
        try:
            self._take(self._events.get(timeout=wait_s))
            while True:
                self._take(self._events.get_nowait())
        except queue.Empty:
            return

    def load(self, request: DataRequest, now_ms: int) -> StrategyData:
        """Return what a strategy reads, as of `now_ms`."""
        return self._cache.load(request, now_ms)

    def is_complete(self, coin: Coin, now_ms: int) -> bool:
        """Whether all that the coin's strategy reads is there."""
        return self._cache.is_complete(coin.topics, now_ms) and self._cache.is_funded(coin.symbol, now_ms)

    def has_own_candle(self, coin: Coin, now_ms: int) -> bool:
        """Whether the coin's own candle and funding are there, if not the other series."""
        return self._cache.is_complete(coin.topics[:1], now_ms) and self._cache.is_funded(coin.symbol, now_ms)

    def read_late(self, topics: Iterable[Topic], now_ms: int) -> Failures:
        """Read by REST what these series lack. Return the failures by series."""
        self.refresh_funding(now_ms)
        behind = self._cache.behind(topics, now_ms)
        with self._reading():
            failures = self._cache.catch_up(behind, now_ms)
        self._log.stats.by_rest += len(behind) - len(failures)
        counters.PROCESS.add(counters.CANDLES_BY_REST, amount=len(behind) - len(failures))
        self._log.warn_once("could not be read", failures)
        return failures

    def count_missed_close(self) -> None:
        """Note that the stream did not bring all candles of a close. Rebuild it when that goes on."""
        self._missed += 1
        if self._missed >= MISSED_CLOSES:
            self._missed = 0
            self._stream.rebuild()

    def count_complete_close(self) -> None:
        """Note that the stream brought all candles of a close."""
        self._missed = 0

    def refresh_funding(self, now_ms: int) -> None:
        """Ask for the funding that is due."""
        due = self._cache.funding_due(now_ms)
        if due and self._funding.ring():
            with self._reading():
                self._log.warn_once("could not be read", self._cache.refresh_funding(due, now_ms))

    def _take(self, event: StreamEvent) -> None:
        match event:
            case ClosedCandle():
                counters.PROCESS.add(counters.CANDLES_CLOSED)
                self._cache.add(event)
            case Up():
                counters.PROCESS.add(counters.STREAM_CONNECTIONS)
                # The stream does not repeat what closed while it was down.
                with self._reading():
                    now_ms = self._clock.ask()
                    behind = self._cache.behind(self._cache.topics, now_ms)
                    self._log.warn_once("could not be read", self._cache.catch_up(behind, now_ms))
                if event.refused:
                    names = ", ".join(f"{symbol} {timeframe}" for symbol, timeframe in event.refused)
                    self._log.say_once(f"not streamed by the venue, read by REST instead: {names}", is_warning=True)
                if self._stream.counts.connections > 1 and not self.is_up:
                    self._log.say("the stream is back; what closed meanwhile was read by REST")
                self.is_up = True
            case _:
                if self.is_up:
                    self._log.say(f"the stream is down, candles come by REST: {event.reason}", is_warning=True)
                self.is_up = False
