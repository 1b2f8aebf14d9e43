"""Events of a stream of candles, and its protocol, in words that are not a venue's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trading_assets.core.timeframes import Timeframe

Topic = tuple[str, Timeframe]
"""Candles of a symbol and timeframe."""


@dataclass(frozen=True)
class ClosedCandle:
    """A candle that has closed, as sent at `venue_ms`. `values`: open, high, low, close, volume, turnover."""

    symbol: str
    timeframe: Timeframe
    start_ms: int
    values: tuple[float, float, float, float, float, float]
    venue_ms: int


@dataclass(frozen=True)
class Up:
    """Connected and subscribed. Candles that closed before are not sent: read them by REST."""

    refused: tuple[Topic, ...]
    """topics that the venue does not stream"""


@dataclass(frozen=True)
class Down:
    """The connection is over; a new one is being made."""

    reason: str


StreamEvent = ClosedCandle | Up | Down


@dataclass(frozen=True)
class AccountChanged:
    """Something of the account has changed: a hint of what to read by REST, never the truth itself.

    Attributes:
        kinds: of `order`, `execution`, `position` and `wallet`.
        symbols: whose orders, executions or positions; empty where only the wallet has changed, or where the message
            could not be read in full.
        venue_ms: when the venue told it, UTC ms.
    """

    kinds: frozenset[str]
    symbols: frozenset[str]
    venue_ms: int


AccountEvent = AccountChanged | Up | Down
"""`Up`: connected and subscribed; what happened before is not told, read it by REST."""


@dataclass
class StreamCounts:
    """What a stream has seen so far."""

    messages: int = 0
    candles: int = 0
    malformed: int = 0
    connections: int = 0


class CandleStream(Protocol):
    """A stream that runs from `start` to `stop`, and delivers its events by itself."""

    counts: StreamCounts
    venue_ms: int
    """The venue's time of the newest candle message, UTC ms; 0 before the first."""
    heard_at: float
    """`time.monotonic()` of that message."""

    def start(self) -> None: ...

    def rebuild(self) -> None:
        """Drop the connection and make another one."""
        ...

    def stop(self, timeout_s: float = 5.0) -> None: ...


class AccountStream(Protocol):
    """A stream of the account's changes that runs from `start` to `stop`, and delivers its events by itself."""

    counts: StreamCounts
    heard_at: float
    """`time.monotonic()` of its last message."""

    def start(self) -> None: ...

    def stop(self, timeout_s: float = 5.0) -> None: ...
