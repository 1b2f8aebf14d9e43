"""Distance between requests, and silence after a ban: the limits of one network address. No requests here."""

from __future__ import annotations

import threading
import time

from trading_assets.errors import RateLimitedError

# Bybit allows 600 requests in 5 s from one address, all hosts together; 0.8 of it is kept.
_SECONDS_PER_REQUEST = 5 / (600 * 0.8)


class Pacer:
    """Gives each request its turn; safe for threads."""

    def __init__(self, seconds_per_request: float) -> None:
        self._seconds_per_request = seconds_per_request
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._silent_until = 0.0

    def turn(self) -> float:
        """Take the next turn; the seconds to wait for it.

        Raises:
            RateLimitedError: nothing may be sent now.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._silent_until:
                left = self._silent_until - now
                raise RateLimitedError(
                    f"this address is banned for {left:.0f} s more; nothing is sent until then",
                    code=403,
                    retry_after_s=left,
                )
            turn = max(self._next_at, now)
            self._next_at = turn + self._seconds_per_request
        return turn - now

    def silence(self, seconds: float) -> None:
        """Let nothing out for so long."""
        with self._lock:
            self._silent_until = max(self._silent_until, time.monotonic() + seconds)


ADDRESS = Pacer(_SECONDS_PER_REQUEST)
"""Shared by every connector of the process, as they share the address."""
