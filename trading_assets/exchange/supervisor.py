"""One WebSocket connection that is kept up: pings, silence, and a new connection with back-off. No topic is known here.

A connection can go silent without breaking. So the supervisor watches the age of the last message that counts, and
rebuilds the connection. A subclass says what is asked of a new connection and what a message means.
"""

from __future__ import annotations

import abc
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.streams import StreamCounts

OPEN_WITHIN_S = 5.0
_frames = logging.getLogger(f"{__name__}.frames")
_frames.setLevel(logging.INFO)
"""Of the library; at DEBUG it prints each frame, and the first one has the key and its signature."""

FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.25, 30.0
STEADY_AFTER_S = 60.0
"""A connection that has lasted so long was a good one: the next one is tried without back-off."""


class BrokenError(Exception):
    """This connection is of no use any more. It never leaves the supervisor."""


class _Connection(ClientConnection):
    """A connection to the address that was asked for alone: what is sent first has the key and its signature."""

    def handshake(self, *arguments: Any, **named: Any) -> None:
        """See the library's, which would follow an answer that sends it elsewhere."""
        try:
            super().handshake(*arguments, **named)
        except InvalidStatus as error:
            raise BrokenError(f"the server answers with HTTP {error.response.status_code}") from None


class StreamSupervisor(abc.ABC):
    """Runs in a thread of its own from `start` to `stop`.

    Args:
        name: of the thread.
        url: gives the address; asked before each connection, as it may have moved.
        down: called in the thread with the reason when a connection ends; must return at once.
        silence_s: a connection without a message that counts (`heard_at`) for so long is taken for dead.
        ping_every_s: seconds between pings; Bybit drops a connection that sends none for ten minutes.
    """

    def __init__(
        self,
        name: str,
        url: Callable[[], str],
        down: Callable[[str], None],
        *,
        silence_s: float,
        ping_every_s: float,
        jitter: random.Random | None = None,
    ) -> None:
        self._url, self._down, self._silence_s, self._ping_every_s = url, down, silence_s, ping_every_s
        self._jitter = jitter or random.Random()
        self._stopping = threading.Event()
        self._rebuild: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.counts = StreamCounts()
        self.heard_at = time.monotonic()
        """`time.monotonic()` of the last message that counts."""

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def rebuild(self, reason: str = "candles that have closed were not told") -> None:
        """Drop the connection and make another one."""
        self._rebuild = reason

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the connection; returns when its thread has ended, at most after `timeout_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @abc.abstractmethod
    def _begin(self, line: ClientConnection) -> None:
        """A connection is open: ask for what it should tell."""

    @abc.abstractmethod
    def _hear(self, line: ClientConnection, message: bytes) -> None:
        """A message has come."""

    @abc.abstractmethod
    def _watch(self, line: ClientConnection, now: float) -> None:
        """Called about once a second and after each message.

        Raises:
            BrokenError: what was asked for was not answered.
        """

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._live()
            except (BrokenError, OSError, WebSocketException, TradingAssetsError) as error:
                if self._stopping.is_set():
                    return
                self._down(str(error) or type(error).__name__)
            failures = 0 if time.monotonic() - began > STEADY_AFTER_S else failures + 1
            wait_s = min(FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 10), LONGEST_BACK_OFF_S) if failures else 0.0
            self._stopping.wait(wait_s * (1 + self._jitter.random() / 4))

    def _live(self) -> None:
        """One connection, until it breaks or the stream is stopped."""
        url = self._url()
        local = url.startswith("ws://")
        with connect(
            url,
            open_timeout=OPEN_WITHIN_S,
            close_timeout=1.0,
            compression=None,
            proxy=None if local else True,
            logger=_frames,
            create_connection=_Connection,
        ) as line:
            self.counts.connections += 1
            self._rebuild = None
            now = time.monotonic()
            self.heard_at, ping_at = now, now + self._ping_every_s
            self._begin(line)
            while not self._stopping.is_set():
                now = time.monotonic()
                if now >= ping_at:
                    line.send('{"op":"ping"}')
                    ping_at = now + self._ping_every_s
                self._watch(line, now)
                if now - self.heard_at > self._silence_s:
                    raise BrokenError(f"silent for {now - self.heard_at:.0f} s")
                if self._rebuild is not None:
                    raise BrokenError(self._rebuild)
                try:
                    message = line.recv(timeout=min(1.0, self._silence_s / 4), decode=False)
                except TimeoutError:
                    continue
                self.counts.messages += 1
                self._hear(line, message)
