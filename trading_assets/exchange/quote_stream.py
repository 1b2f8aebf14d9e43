"""Quotes and trades of some contracts from Bybit's public stream, on one connection. No REST.

Contracts may be added while it runs. The connection is kept up by `supervisor`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.sync.client import ClientConnection

from trading_assets.core.errors import ExchangeError
from trading_assets.exchange import BTC
from trading_assets.exchange.fields import above_zero, moment, venue_errors
from trading_assets.exchange.stream import PING_EVERY_S, Subscription
from trading_assets.exchange.supervisor import StreamSupervisor

_TICKER, _TRADE = "tickers.", "publicTrade."


@dataclass(frozen=True)
class Trade:
    """One public trade; quantity in base coin."""

    time_ms: int
    price: float
    qty: float


class QuoteListener(Protocol):
    """Is called in the stream's thread, and returns at once."""

    def on_begin(self, symbol: str) -> None:
        """The first quote of a contract on a new connection follows: what was between is not told."""

    def on_ticker(self, symbol: str, time_ms: int, row: Mapping[str, Any]) -> None:
        """A ticker row as it is now, all of its fields."""

    def on_trades(self, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades, oldest first."""

    def on_alive(self, symbols: Iterable[str], time_ms: int) -> None:
        """The connection is heard: of these contracts all is told up to this moment."""

    def on_down(self, reason: str) -> None:
        """The connection is over; a new one is being made."""


class BybitQuoteStream(StreamSupervisor):
    """Tickers and trades of the contracts that are followed, and always of BTC: its silence is a fault.

    Args:
        url: gives the address of the public stream; asked before each connection.
        silence_s: a connection without a message for so long is taken for dead.
    """

    def __init__(self, url: Callable[[], str], listener: QuoteListener, *, silence_s: float) -> None:
        super().__init__("quote-stream", url, listener.on_down, silence_s=silence_s, ping_every_s=PING_EVERY_S)
        self._listener = listener
        self._wanted: set[str] = {BTC}
        self._wanted_lock = threading.Lock()
        self._subscription: Subscription[str] | None = None
        self._asked: set[str] = set()
        self._rows: dict[str, dict[str, Any]] = {}

    def follow(self, symbols: Iterable[str]) -> None:
        """Follow these contracts as well, from the next message on."""
        with self._wanted_lock:
            self._wanted |= set(symbols)

    @property
    def told(self) -> frozenset[str]:
        """Contracts of which this connection has told a whole row."""
        return frozenset(self._rows)

    def _begin(self, line: ClientConnection) -> None:
        self._rows = {}
        with self._wanted_lock:
            self._asked = set(self._wanted)
        self._subscription = Subscription(line, _topics(self._asked))

    def _watch(self, line: ClientConnection, now: float) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        subscription.require_answers(now)
        with self._wanted_lock:
            new = self._wanted - self._asked
        if new:
            self._asked |= new
            subscription.add(_topics(new))

    def _hear(self, line: ClientConnection, message: bytes) -> None:
        try:
            told = json.loads(message)
        except (ValueError, RecursionError):
            self.counts.malformed += 1
            return
        topic = told.get("topic") if isinstance(told, dict) else None
        if not isinstance(topic, str):
            if self._subscription is not None:
                self._subscription.on_answer(message)
            return
        try:
            if topic.startswith(_TICKER):
                self._on_ticker(topic.removeprefix(_TICKER), told)
            elif topic.startswith(_TRADE):
                self._on_trades(topic.removeprefix(_TRADE), told)
        except ExchangeError:
            self.counts.malformed += 1

    @venue_errors
    def _on_ticker(self, symbol: str, told: Mapping[str, Any]) -> None:
        at, data = moment(told, "ts"), told["data"]
        if symbol not in self._asked or not isinstance(data, dict):
            return
        row = self._rows.get(symbol)
        if told["type"] == "snapshot" or row is None:
            if told["type"] != "snapshot":
                return  # what has changed, of nothing that is known
            if row is None:
                self._listener.on_begin(symbol)
            row = self._rows[symbol] = {}
        row.update(data)
        self._listener.on_ticker(symbol, at, row)
        self._alive(at)

    @venue_errors
    def _on_trades(self, symbol: str, told: Mapping[str, Any]) -> None:
        trades = [
            Trade(moment(row, "T"), float(above_zero(row, "p")), float(above_zero(row, "v"))) for row in told["data"]
        ]
        if symbol in self._rows:
            self._listener.on_trades(symbol, sorted(trades, key=lambda trade: trade.time_ms))
            self._alive(moment(told, "ts"))

    def _alive(self, at_ms: int) -> None:
        self.heard_at = time.monotonic()
        self._listener.on_alive(self._rows, at_ms)


def _topics(symbols: Iterable[str]) -> dict[str, str]:
    return {f"{kind}{symbol}": symbol for symbol in sorted(symbols) for kind in (_TICKER, _TRADE)}
