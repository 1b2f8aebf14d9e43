"""Closed candles from Bybit's public stream: one connection for many symbols. No REST.

A stream can lose a message or repeat one. The listener gets `Up` after each connection and `Down` when one ends.
Candles that closed before `Up` are not repeated: read them by REST. The connection is kept up by `supervisor`.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from websockets.sync.client import ClientConnection

from trading_assets.core.errors import ExchangeError
from trading_assets.core.streams import ClosedCandle, Down, StreamEvent, Topic, Up
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange import BTC, market_rows
from trading_assets.exchange.supervisor import BrokenError, StreamSupervisor

HEARTBEAT: Topic = (BTC, Timeframe.M1)
"""Always listened to: it trades every second, so that silence is a fault and not a quiet market."""

TOPICS_IN_A_REQUEST = 50
PING_EVERY_S = 20.0
ANSWER_WITHIN_S = 10.0

_Meant = TypeVar("_Meant")

_CONFIRMED, _CANDLE, _STAMP = b'"confirm":true', b'"topic":"kline.', b'"ts":'


class BybitCandleStream(StreamSupervisor):
    """Candles of many symbols on one connection.

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
        super().__init__(
            "candle-stream",
            url,
            lambda reason: deliver(Down(reason)),
            silence_s=silence_s,
            ping_every_s=PING_EVERY_S,
            jitter=jitter,
        )
        self._deliver = deliver
        self._topics = list(dict.fromkeys([*topics, HEARTBEAT]))
        self._wanted = frozenset(topics)
        self._by_name = {f"kline.{market_rows.INTERVALS[topic[1]]}.{topic[0]}": topic for topic in self._topics}
        self._subscription: Subscription[Topic] | None = None
        self._told = False
        self.venue_ms = 0
        """The venue's time of the newest candle message, UTC ms; 0 before the first."""

    def _begin(self, line: ClientConnection) -> None:
        self._subscription, self._told = Subscription(line, self._by_name), False

    def _watch(self, line: ClientConnection, now: float) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        subscription.require_answers(now)
        if subscription.is_complete and not self._told:
            self._deliver(Up(tuple(subscription.refused)))
            self._told = True

    def _hear(self, line: ClientConnection, message: bytes) -> None:
        if _CANDLE in message:
            self._on_candle(message)
        elif self._subscription is not None:
            self._subscription.on_answer(message)

    def _on_candle(self, message: bytes) -> None:
        """Only a message about a closed candle is read in full: there are a hundred others for each."""
        self.heard_at = time.monotonic()
        at = message.rfind(_STAMP) + len(_STAMP)
        digits = message[at : at + 13]
        if digits.isdigit():
            self.venue_ms = int(digits)  # no maximum: a clock that was ahead for a moment would stop it
        if _CONFIRMED not in message:
            return
        try:
            found = market_rows.stream_candles(json.loads(message))
        except (ValueError, RecursionError, ExchangeError):
            self.counts.malformed += 1
            return
        for topic, start_ms, values, venue_ms in found:
            known = self._by_name.get(topic)
            if known is not None and known in self._wanted:
                self.counts.candles += 1
                self._deliver(ClosedCandle(*known, start_ms, values, venue_ms))


class Subscription(Generic[_Meant]):
    """What one connection was asked to send, by Bybit's names, and what it has answered."""

    def __init__(self, connection: ClientConnection, topics: Mapping[str, _Meant]) -> None:
        self._connection, self._topics = connection, dict(topics)
        self._open: dict[str, list[str]] = {}
        self._asked_at = time.monotonic()
        self._number = 0
        self.refused: list[_Meant] = []
        self._ask_all(list(topics))

    def add(self, topics: Mapping[str, _Meant]) -> None:
        """Ask for more."""
        new = {name: meant for name, meant in topics.items() if name not in self._topics}
        self._topics |= new
        self._ask_all(list(new))

    @property
    def is_complete(self) -> bool:
        return not self._open

    def require_answers(self, now: float) -> None:
        if self._open and now - self._asked_at > ANSWER_WITHIN_S:
            raise BrokenError(f"subscriptions were not answered within {ANSWER_WITHIN_S:.0f} s")

    def on_answer(self, message: bytes) -> None:
        """An answer. A refused request may hold one bad symbol: its topics are asked for again, one by one."""
        try:
            answer = json.loads(message)
        except (ValueError, RecursionError):
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

    def _ask_all(self, names: list[str]) -> None:
        for start in range(0, len(names), TOPICS_IN_A_REQUEST):
            self._ask(names[start : start + TOPICS_IN_A_REQUEST])

    def _ask(self, names: list[str]) -> None:
        self._number += 1
        request = str(self._number)
        self._open[request] = names
        self._connection.send(json.dumps({"req_id": request, "op": "subscribe", "args": names}))
        self._asked_at = time.monotonic()
