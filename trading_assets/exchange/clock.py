"""The venue's time: the local clock, compared with the exchange's, or the exchange's own where it is virtual."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trading_assets.core.errors import ClockSkewError, ExchangeUnavailableError, NotSentError
from trading_assets.core.timeframes import local_ms

REFRESH_S = 60.0
MEASUREMENTS = 3

FARTHEST_AHEAD_MS = 30_000
"""With a local clock farther ahead, candles that have yet to close would count as missing. More than any round trip."""


class ExchangeClock:
    """Tells the venue's time.

    Args:
        server_ms: asks the exchange.
        virtual: the exchange has a clock of its own that may stand or run fast (the embedded one): ask it each time.
        max_offset_ms: largest difference on which `require_close` lets an order through.
    """

    def __init__(self, server_ms: Callable[[], int], *, virtual: bool, max_offset_ms: int) -> None:
        self._server_ms = server_ms
        self._virtual = virtual
        self._max_offset_ms = max_offset_ms
        self._lock = threading.RLock()
        self._offset_ms = 0
        self._measured_at: float | None = None

    def now_ms(self) -> int:
        """UTC ms."""
        return self._server_ms() if self._virtual else local_ms()

    def offset_ms(self, within_s: float = REFRESH_S) -> int:
        """Exchange minus local clock, measured at the middle of the round trip, at most so long ago."""
        if self._virtual:
            return 0
        with self._lock:
            now = time.monotonic()
            if self._measured_at is None or now - self._measured_at > within_s:
                self._offset_ms = self._measure()
                self._measured_at = now
            return self._offset_ms

    def forget(self) -> None:
        """Measure again next time: the exchange has refused a time of ours."""
        with self._lock:
            self._measured_at = None

    def require_close(self) -> None:
        """Call before an order is sent.

        Raises:
            ClockSkewError: the clocks differ by more than the limit.
            NotSentError: the exchange did not tell its time.
        """
        try:
            offset = self.offset_ms()
        except ExchangeUnavailableError as error:
            raise NotSentError(
                f"the exchange did not tell its time, so the local clock is unchecked ({error}). No order was sent.",
                code=error.code,
            ) from error
        if abs(offset) > self._max_offset_ms:
            raise ClockSkewError(
                f"the exchange's clock is {offset:+d} ms from the local one, expected at most "
                f"{self._max_offset_ms} ms; synchronise the local clock (NTP). No order was sent."
            )

    def require_not_ahead(self, server_ms: int) -> None:
        """Compare the local clock with a time that the exchange has just told.

        Raises:
            ClockSkewError: the local clock is far ahead; what it calls closed has yet to close.
        """
        ahead_ms = local_ms() - server_ms
        if not self._virtual and ahead_ms > FARTHEST_AHEAD_MS:
            raise ClockSkewError(
                f"the local clock is {ahead_ms} ms ahead of the exchange's, expected at most {FARTHEST_AHEAD_MS} ms; "
                "synchronise it (NTP). Nothing was taken from the answer."
            )

    def _measure(self) -> int:
        """The offset by the quickest of a few round trips. A slow one (retries inside) says little of its middle."""
        trips: list[tuple[int, int]] = []
        while len(trips) < MEASUREMENTS:
            before = local_ms()
            server = self._server_ms()
            after = local_ms()
            trips.append((after - before, server - (before + after) // 2))
            if after - before <= self._max_offset_ms:
                break
        return min(trips)[1]
