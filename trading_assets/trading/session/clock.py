"""The clocks of a session: timers for what is done now and then, and the venue's time."""

from __future__ import annotations

import time

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.ports import Exchange
from trading_assets.core.streams import CandleStream
from trading_assets.trading.session.log import SessionLog

ASK_EVERY_S = 0.5


class Timer:
    """Rings at most once in `every_s` seconds, the first time at once."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next = 0.0

    def ring(self) -> bool:
        """Return whether the time is over; if it is, start it again."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every_s
        return True

    def restart(self, after_s: float | None = None) -> None:
        """Ring next after the usual time, or after `after_s`."""
        self._next = time.monotonic() + (self._every_s if after_s is None else after_s)


class VenueClock:
    """The venue's time: that of the newest message; where messages are rare, what the venue answers when asked."""

    def __init__(self, exchange: Exchange, stream: CandleStream, log: SessionLog) -> None:
        self._exchange, self._stream, self._log = exchange, stream, log
        self._asked_ms = 0
        self._timer = Timer(ASK_EVERY_S)

    def now_ms(self) -> int:
        """Return the venue's time, UTC ms. Asks the venue when the stream has been silent."""
        if time.monotonic() - self._stream.heard_at > ASK_EVERY_S and self._timer.ring():
            return self.ask()
        return max(self._stream.venue_ms, self._asked_ms)

    def ask(self) -> int:
        """Ask the venue for its time. Return the newest time that is known, also when it does not answer."""
        try:
            self._asked_ms = max(self._asked_ms, self._exchange.now_ms())
        except TradingAssetsError as error:
            self._log.warn_once("could not be read", {"the exchange's time": error})
        return max(self._stream.venue_ms, self._asked_ms)
