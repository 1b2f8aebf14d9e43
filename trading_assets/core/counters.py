"""What a process counts beside its work: calls, connections, waits. Kept in memory, for whoever reports it.

Counting costs a microsecond and never fails: nothing on an order's way depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

Key = tuple[str, ...]
"""A counter's name, and the values of its labels in the order of `LABELS`."""

API_REQUESTS, API_SECONDS = "api_requests", "api_request_seconds"
LIMITER_WAIT = "rate_limiter_wait_seconds"
STREAM_CONNECTIONS = "stream_connections"
CANDLES_CLOSED, CANDLES_BY_REST = "candles_closed", "candles_read_by_rest"
RESEARCH_SECONDS, RESEARCH_HOURS = "research_seconds", "research_hours"

LABELS: Mapping[str, tuple[str, ...]] = {
    API_REQUESTS: ("endpoint", "result"),
    API_SECONDS: ("endpoint",),
    LIMITER_WAIT: (),
    STREAM_CONNECTIONS: (),
    CANDLES_CLOSED: (),
    CANDLES_BY_REST: (),
    RESEARCH_SECONDS: ("stage",),
    RESEARCH_HOURS: ("stage",),
}
"""The labels of each counter. Their values must be few: no symbols, ids or texts of others."""


@dataclass
class Counters:
    """Sums that only grow; safe for threads."""

    _sums: dict[Key, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter.

        Raises:
            KeyError: the counter is not in `LABELS`.
            ValueError: it has other labels.
        """
        if len(labels) != len(LABELS[name]):
            raise ValueError(f"{name} has the labels {LABELS[name]}, found {labels}")
        key = (name, *labels)
        with self._lock:
            self._sums[key] = self._sums.get(key, 0.0) + amount

    def read(self) -> dict[Key, float]:
        """A copy of all sums."""
        with self._lock:
            return dict(self._sums)


PROCESS = Counters()
"""Of this process."""
