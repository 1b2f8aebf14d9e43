"""How many connections an address may open and keep. Real time, no sockets."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable

OPENED_MAX = 500
OPENED_WITHIN_S = 300.0
KEPT_MAX = 1000
"""For each address and market type."""


class ConnectionLimits:
    """Counts connections; `seconds` is the clock they are counted by."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._opened: defaultdict[str, deque[float]] = defaultdict(deque)
        self._kept: Counter[tuple[str, str]] = Counter()

    def enter(self, address: str, market: str) -> str:
        """Count a new connection; why it must be refused, or an empty string."""
        now, opened = self._seconds(), self._opened[address]
        while opened and opened[0] <= now - OPENED_WITHIN_S:
            opened.popleft()
        if len(opened) >= OPENED_MAX:
            return f"more than {OPENED_MAX} connections in {OPENED_WITHIN_S:.0f} s from one address"
        if self._kept[address, market] >= KEPT_MAX:
            return f"more than {KEPT_MAX} connections to one market type from one address"
        opened.append(now)
        self._kept[address, market] += 1
        return ""

    def leave(self, address: str, market: str) -> None:
        self._kept[address, market] -= 1
