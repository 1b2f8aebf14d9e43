"""Closed candles from Bybit's stream: one WebSocket connection for many symbols, and its supervisor. No REST.

A connection can go silent without breaking, lose a message or repeat one. The supervisor watches the age of the last
candle message and rebuilds the connection with back-off. The listener gets `Up` after each connection and `Down` when
one ends. Candles that closed before `Up` are not repeated: read them by REST.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.streams import ClosedCandle, Down, StreamCounts, StreamEvent, Topic, Up
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange import BTC, parsing

HEARTBEAT: Topic = (BTC, Timeframe.M1)
"""Always listened to: it trades every second, so that silence is a fault and not a quiet market."""

TOPICS_IN_A_REQUEST = 50
PING_EVERY_S = 20.0
ANSWER_WITHIN_S = 10.0
OPEN_WITHIN_S = 5.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.25, 30.0
STEADY_AFTER_S = 60.0
"""After a connection that lasted so long, the next one is tried without back-off."""

_CONFIRMED, _CANDLE, _STAMP = b'"confirm":true', b'"topic":"kline.', b'"ts":'


class _Broken(Exception):
    """The connection is of no more use."""


class BybitCandleStream:
    """Runs in a thread of its own from `start` to `stop`.

    Args:
        url: gives the address of the public stream; asked before each connection, as it may have moved.
        deliver: called with each event, in the stream's thread; must return at once.
        silence_s: a connection without a candle message for so long is taken for dead.
    """

    def __init__(
        self,
        url: Callable[[], str],
        topics: Sequence[Topic],
        deliver: Callable[[StreamEvent], None],
        *,
        silence_s: float = 15.0,
        jitter: random.Random | None = None,
    ) -> None:
        self._url, self._deliver, self._silence_s = url, deliver, silence_s
        self._topics = list(dict.fromkeys([*topics, HEARTBEAT]))
        self._wanted = frozenset(topics)
        self._by_name = {f"kline.{parsing.INTERVALS[topic[1]]}.{topic[0]}": topic for topic in self._topics}
        self._jitter = jitter or random.Random()
        self._stopping = threading.Event()
        self._rebuild = threading.Event()
        self._thread = threading.Thread(target=self._run, name="candle-stream", daemon=True)
        self.counts = StreamCounts()
        self.venue_ms = 0
        """The venue's time of the newest candle message, UTC ms; 0 before the first."""
        self.heard_at = time.monotonic()
        """`time.monotonic()` of that message."""

    def start(self) -> None:
        self._thread.start()

    def rebuild(self) -> None:
        """Drop the connection and make another one: it is up, but does not tell what it should."""
        self._rebuild.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the connection; returns when its thread has ended, at most after `timeout_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._live()
            except (_Broken, OSError, WebSocketException, TradingAssetsError) as error:
                if self._stopping.is_set():
                    return
                self._deliver(Down(_reason(error)))
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
        ) as connection:
            self.counts.connections += 1
            self._rebuild.clear()
            self._follow(connection)

    def _follow(self, connection: ClientConnection) -> None:
        subscription = _Subscription(connection, self._by_name)
        now = time.monotonic()
        self.heard_at, ping_at = now, now + PING_EVERY_S
        told = False
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= ping_at:
                connection.send('{"op":"ping"}')
                ping_at = now + PING_EVERY_S
            subscription.require_answers(now)
            if subscription.is_complete and not told:
                self._deliver(Up(tuple(subscription.refused)))
                told = True
            silent_s = now - self.heard_at
            if silent_s > self._silence_s:
                raise _Broken(f"silent for {silent_s:.0f} s")
            if self._rebuild.is_set():
                raise _Broken("candles that have closed were not told")
            try:
                message = connection.recv(timeout=min(1.0, self._silence_s / 4), decode=False)
            except TimeoutError:
                continue
            self.counts.messages += 1
            if _CANDLE in message:
                self._on_candle(message)
            else:
                subscription.on_answer(message)

    def _on_candle(self, message: bytes) -> None:
        """Parse only a message about a closed candle: there are a hundred others for each."""
        self.heard_at = time.monotonic()
        at = message.rfind(_STAMP) + len(_STAMP)
        digits = message[at : at + 13]
        if digits.isdigit():
            self.venue_ms = max(self.venue_ms, int(digits))
        if _CONFIRMED not in message:
            return
        try:
            found = parsing.stream_candles(json.loads(message))
        except (ValueError, ExchangeError):
            self.counts.malformed += 1
            return
        for topic, start_ms, values, venue_ms in found:
            known = self._by_name.get(topic)
            if known is not None and known in self._wanted:
                self.counts.candles += 1
                self._deliver(ClosedCandle(*known, start_ms, values, venue_ms))


class _Subscription:
    """What one connection was asked to send, and what it has answered."""

    def __init__(self, connection: ClientConnection, topics: Mapping[str, Topic]) -> None:
        self._connection, self._topics = connection, topics
        self._open: dict[str, list[str]] = {}
        self._asked_at = time.monotonic()
        self._number = 0
        self.refused: list[Topic] = []
        names = list(topics)
        for start in range(0, len(names), TOPICS_IN_A_REQUEST):
            self._ask(names[start : start + TOPICS_IN_A_REQUEST])

    @property
    def is_complete(self) -> bool:
        return not self._open

    def require_answers(self, now: float) -> None:
        if self._open and now - self._asked_at > ANSWER_WITHIN_S:
            raise _Broken(f"subscriptions were not answered within {ANSWER_WITHIN_S:.0f} s")

    def on_answer(self, message: bytes) -> None:
        """An answer. A refused request may hold one bad symbol: its topics are asked for again, one by one."""
        try:
            answer = json.loads(message)
        except ValueError:
            return
        if not isinstance(answer, dict) or answer.get("op") != "subscribe":
            return
        names = self._open.pop(str(answer.get("req_id")), [])
        if answer.get("success") is not False:
            return
        if len(names) > 1:
            for name in names:
                self._ask([name])
        elif names:
            self.refused.append(self._topics[names[0]])

    def _ask(self, names: list[str]) -> None:
        self._number += 1
        request = str(self._number)
        self._open[request] = names
        self._connection.send(json.dumps({"req_id": request, "op": "subscribe", "args": names}))
        self._asked_at = time.monotonic()


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
