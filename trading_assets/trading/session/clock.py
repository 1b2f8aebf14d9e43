"""The clocks of a session: timers, the venue's time, and whether the venue can be heard at all."""

from __future__ import annotations

import threading
import time

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.messages import Kind, Severity
from trading_assets.core.streams import CandleStream
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.session.log import SessionLog

ASK_EVERY_S = 0.5
"""The venue is asked for its time when its stream has been silent for so long, and so often then."""

PING_AFTER_S = 2.0
"""After so long a silence a price is asked for as well: a time may be told without asking the venue."""

DOWN_AFTER_S = 10.0
"""The link is down when for so long neither the stream nor an answer was heard."""

DEAD_AFTER_S = 5.0
"""When nothing was heard for so long, and then an answer, connections from before are taken for dead."""

KNOCK_EVERY_S, KNOCK_WITHIN_S = 0.5, 1.0
"""In such a silence a connection is tried so often, each for so long."""

ASK_AGAIN_S, MOST_ASKS = 3.0, 16
"""A question without an answer is asked again after this time, beside those that wait: a dead connection is silent for
as long as a request may take, and a new one may be answered at once."""


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
    """The venue's time: that of the newest message, or of the newest answer where the stream is silent.

    A time that was wrong for a moment is forgotten with the next one. Threads of its own ask the venue, so that nobody
    waits for an answer; they also tell when the link is down, and when it is back.
    """

    def __init__(self, context: ExecutionContext, stream: CandleStream, log: SessionLog) -> None:
        self._exchange, self._notify = context.exchange, context.notify
        self._btc = context.settings.symbols.btc
        self._stream, self._log = stream, log
        self._lock = threading.Lock()
        self._asked_ms, self._asked_at = 0, 0.0
        self._answered_at = time.monotonic()
        self._asks: set[float] = set()
        self._knocked_since = 0.0
        self._down_at: float | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="venue-clock", daemon=True)

    @property
    def is_down(self) -> bool:
        """Whether the venue cannot be heard."""
        return self._down_at is not None

    def start(self) -> None:
        """Begin to ask whenever the stream is silent."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ending.set()

    def now_ms(self) -> int:
        """Return the venue's time, UTC ms, as far as it is known. Asks nobody."""
        if self._stream.heard_at > self._asked_at and self._stream.venue_ms:
            return self._stream.venue_ms
        return self._asked_ms or self._stream.venue_ms

    def ask(self) -> int:
        """Ask the venue for its time. Return the newest time that is known, also when it does not answer."""
        try:
            self._note(self._exchange.now_ms())
        except TradingAssetsError as error:
            self._log.warn_once("could not be read", {"the exchange's time": error})
        return self.now_ms()

    def _note(self, now_ms: int) -> None:
        with self._lock:
            self._asked_ms, self._asked_at = now_ms, time.monotonic()

    def _watch(self) -> None:
        while not self._ending.wait(self._rest_s()):
            now = time.monotonic()
            silent_s = now - self._stream.heard_at
            with self._lock:
                newest = max(self._asks, default=0.0)
                due = now - newest >= ASK_AGAIN_S if newest else now - self._asked_at >= ASK_EVERY_S
                ask = silent_s > ASK_EVERY_S and due and len(self._asks) < MOST_ASKS
                if ask:
                    self._asks.add(now)
            if ask:
                threading.Thread(target=self._ask_once, args=(now, silent_s), name="venue-ask", daemon=True).start()
            heard_at = self._heard_at
            if now - heard_at > DEAD_AFTER_S and self._knocked_since != heard_at:
                self._knocked_since = heard_at
                threading.Thread(target=self._knock, args=(heard_at,), name="venue-knock", daemon=True).start()
            self._tell_link(now, heard_at)

    def _rest_s(self) -> float:
        """Until there may be something to do: while the stream tells the time, nothing before it is silent."""
        return max(self._stream.heard_at + ASK_EVERY_S - time.monotonic(), ASK_EVERY_S / 5)

    @property
    def _heard_at(self) -> float:
        return max(self._stream.heard_at, self._answered_at)

    def _knock(self, silent_since: float) -> None:
        """Wait for the end of a silence: a connection can be opened, or something is heard.

        What was asked before is asked again then, once a silence: an answer tells the same, and comes later.
        """
        while not self._ending.is_set():
            began = time.monotonic()
            if self._heard_at > silent_since or self._exchange.can_connect(KNOCK_WITHIN_S):
                self._exchange.repeat_reads(began)
                return
            self._ending.wait(KNOCK_EVERY_S)

    def _ask_once(self, asked_at: float, silent_s: float) -> None:
        try:
            self._note(self._exchange.now_ms())
            if silent_s > PING_AFTER_S:
                self._exchange.ticker(self._btc)
            before, self._answered_at = self._heard_at, time.monotonic()
            if asked_at - before > DEAD_AFTER_S:
                self._exchange.repeat_reads(asked_at)
        except TradingAssetsError as error:
            self._log.warn_once("could not be read", {"the exchange's time": error})
        finally:
            with self._lock:
                self._asks.discard(asked_at)

    def _tell_link(self, now: float, heard_at: float) -> None:
        """Tell once when the link goes down, and once when it is back."""
        if self._down_at is None and now - heard_at > DOWN_AFTER_S:
            self._down_at = heard_at
            text = f"the link to the exchange is down: nothing heard for {now - heard_at:.0f} s; signals wait"
            self._log.say(text, is_warning=True)
            self._notify("link down", text, Kind.LINK, Severity.WARNING)
        elif self._down_at is not None and heard_at > self._down_at:
            text = f"the link to the exchange is back after {heard_at - self._down_at:.0f} s"
            self._down_at = None
            self._log.say(text)
            self._notify("link back", text, Kind.LINK)
