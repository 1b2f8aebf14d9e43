"""What a session has read of the exchange ahead of a candle's close, so that an order waits for no answer.

Everything here was read by REST. The account's private stream says only what is not to be used any more: whatever it
tells, true or not, readable or not, and each connection that ends or begins, makes what was read before it void. So
does age. What is void is read by REST before anything is sent, as without this module. No requests and no decisions
about orders: the session reads, `execute.submit` uses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import Position, Rows, Tickers, Wallet
from trading_assets.core.streams import AccountChanged, AccountEvent, Up

READING_AGE_S = 3.0
"""Positions, wallet and prices are used so long after the first of them was asked for, by the monotonic clock.

Without a keeper they may be 10 s old: a round of many orders reads them again only then."""

LEVERAGE_AGE_S = 600.0
"""A leverage that was set is taken for set so long, where the stream has told nothing of its coin meanwhile."""

HEARD_WITHIN_S = 12.0
"""The private stream counts as heard so long after its last message; pings are answered every 5 s."""

ECHO_S = 2.0
"""Setting a leverage is told by the stream, too: one such message within this time says nothing new."""

_POSITION = frozenset({"position"})


@dataclass(frozen=True)
class Reading:
    """Positions, wallet and prices, read side by side.

    Attributes:
        venue_ms: the venue's time after it.
        began: moment before the first request, seconds of the monotonic clock.
        epoch: of the keeper at that moment, which counts what the stream has told: in a later one it is void.
    """

    positions: Rows[Position]
    wallet: Wallet
    tickers: Tickers
    venue_ms: int
    began: float
    epoch: int


@dataclass(frozen=True)
class _Set:
    leverage: Decimal
    at: float


class Keeper:
    """Holds readings and leverages, and tells which of them may be used. Safe for threads.

    Args:
        heard_at: moment of the private stream's last message, by `now`.
        stream_ms: the venue's time where a stream has told it within the last second; None where it has not, or where
            the venue's time costs no request.
        now: a monotonic clock, s.
    """

    def __init__(
        self,
        heard_at: Callable[[], float],
        stream_ms: Callable[[], int | None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heard_at, self._stream_ms, self._now = heard_at, stream_ms, now
        self._lock = threading.Lock()
        self._is_up = False
        self._epoch = 0
        self._reading: Reading | None = None
        self._told: tuple[int, float] | None = None
        self._leverages: dict[str, _Set] = {}
        self._echoes: dict[str, float] = {}
        self._setting: set[str] = set()
        self._news = 0

    @property
    def news(self) -> int:
        """Counts what the stream has told, but for leverages that were set here, and the wallet alone."""
        return self._news

    def hear(self, event: AccountEvent) -> None:
        """The private stream has told something, or has a new connection, or none."""
        with self._lock:
            self._epoch += 1
            self._reading = None
            if not isinstance(event, AccountChanged):
                self._is_up = isinstance(event, Up)
                self._echoes.clear()
                self._forget_all()
            elif event.kinds != {"wallet"}:
                self._forget(event)

    def _forget(self, event: AccountChanged) -> None:
        if not event.symbols:  # nobody knows whose
            self._forget_all()
        for symbol in event.symbols:
            is_echo = event.kinds == _POSITION and self._now() < self._echoes.pop(symbol, 0.0)
            if not is_echo:
                self._news += 1
                self._setting.discard(symbol)
                self._leverages.pop(symbol, None)

    def _forget_all(self) -> None:
        self._news += 1
        self._setting.clear()
        self._leverages.clear()

    def begin(self) -> tuple[int, float]:
        """Epoch and moment of a reading that begins now, before its first request."""
        with self._lock:
            return self._epoch, self._now()

    def keep(self, reading: Reading) -> None:
        """Hold a reading, unless the stream has told something since it began."""
        with self._lock:
            self._told = reading.venue_ms, reading.began
            if reading.epoch == self._epoch:
                self._reading = reading

    def take(self) -> Reading | None:
        """Give the reading, once: the orders that follow from it change the account. None where there is none."""
        with self._lock:
            reading, self._reading = self._reading, None
            return reading if reading is not None and self._holds(reading) else None

    def holds(self, reading: Reading) -> bool:
        """Whether a reading that was taken may still be used."""
        with self._lock:
            return self._holds(reading)

    def _holds(self, reading: Reading) -> bool:
        is_young = 0 <= self._now() - reading.began <= READING_AGE_S
        return reading.epoch == self._epoch and is_young and self._is_heard()

    def _is_heard(self) -> bool:
        return self._is_up and self._now() - self._heard_at() <= HEARD_WITHIN_S

    def now_ms(self) -> int | None:
        """The venue's time without asking it, never before that of the last reading; None: ask."""
        told = self._told
        if told is None or not 0 <= self._now() - told[1] <= READING_AGE_S:
            return None
        heard_ms = self._stream_ms()
        return None if heard_ms is None else max(heard_ms, told[0])

    def setting(self, symbol: str) -> None:
        """The leverage of a coin is about to be set: the stream will tell it."""
        with self._lock:
            self._leverages.pop(symbol, None)
            self._echoes[symbol] = self._now() + ECHO_S
            self._setting.add(symbol)

    def has_set(self, symbol: str, leverage: Decimal) -> None:
        """It was set. Where the stream has told something of the coin since `setting`, this counts for nothing."""
        with self._lock:
            if symbol in self._setting and self._is_heard():
                self._leverages[symbol] = _Set(leverage, self._now())
            self._setting.discard(symbol)

    def has_leverage(self, symbol: str, leverage: Decimal) -> bool:
        """Whether a coin's leverage needs not be set before its order."""
        with self._lock:
            return self._is_set(symbol, leverage, LEVERAGE_AGE_S)

    def without_leverage(self, symbols: Iterable[str], leverage: Decimal) -> list[str]:
        """The coins whose leverage is not known to be set, or will soon not be."""
        with self._lock:
            return [symbol for symbol in symbols if not self._is_set(symbol, leverage, LEVERAGE_AGE_S / 2)]

    def _is_set(self, symbol: str, leverage: Decimal, age_s: float) -> bool:
        found = self._leverages.get(symbol)
        if found is None or found.leverage != leverage or not self._is_heard():
            return False
        return 0 <= self._now() - found.at <= age_s
