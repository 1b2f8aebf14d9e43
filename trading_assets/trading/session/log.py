"""What a session tells: messages, the signals found, and a heartbeat. How it trades is in `session`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from trading_assets.core.foreign_text import plain
from trading_assets.core.streams import StreamCounts

ONCE_LIMIT = 200
"""Most different messages that are told once between two heartbeats."""


class Check(Protocol):
    """The result of holding rows against their schema."""

    @property
    def passed(self) -> bool: ...


@dataclass(frozen=True)
class SessionMessage:
    """A line for the log."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class SignalsFound:
    """New signals. Their orders were submitted before, if the check passed."""

    rows: pd.DataFrame
    check: Check
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Heartbeat:
    """Counts since the last heartbeat. Latencies are from a candle's end to its decision, ms of the venue's clock."""

    closes: int
    signals: int
    executed: int
    refused: int
    rejected: int
    by_rest: int
    connections: int
    messages: int
    latency_p50_ms: float | None
    latency_max_ms: float | None
    skipped: Mapping[str, int]


Tell = Callable[[SessionMessage | SignalsFound | Heartbeat], None]


@dataclass
class SessionStats:
    """What has been counted since the last heartbeat."""

    closes: int = 0
    signals: int = 0
    executed: int = 0
    refused: int = 0
    rejected: int = 0
    by_rest: int = 0
    latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=5000))
    skipped: Counter[str] = field(default_factory=Counter)

    def heartbeat(self, *, connections: int, messages: int) -> Heartbeat:
        """Return the counts, with those of the stream."""
        latencies = np.array(self.latencies_ms)
        return Heartbeat(
            closes=self.closes,
            signals=self.signals,
            executed=self.executed,
            refused=self.refused,
            rejected=self.rejected,
            by_rest=self.by_rest,
            connections=connections,
            messages=messages,
            latency_p50_ms=float(np.median(latencies)) if len(latencies) else None,
            latency_max_ms=float(latencies.max()) if len(latencies) else None,
            skipped=dict(self.skipped),
        )


class SessionLog:
    """Tells what happens in a session, without repeating itself, and counts it.

    Attributes:
        stats: counts since the last heartbeat.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.stats = SessionStats()
        self._told: set[str] = set()
        self._messages = 0

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """Tell a message."""
        self.tell(SessionMessage(plain(text), is_warning))

    def say_once(self, text: str, *, is_warning: bool = False) -> None:
        """Tell a message that was not told since the last heartbeat."""
        if text not in self._told and len(self._told) < ONCE_LIMIT:
            self._told.add(text)
            self.say(text, is_warning=is_warning)

    def warn_once(self, what: str, failures: Mapping[Any, object]) -> None:
        """Tell one message for all items that failed in the same way, once until the next heartbeat."""
        by_reason: dict[str, list[str]] = {}
        for item, error in failures.items():
            name = " ".join(map(str, item)) if isinstance(item, tuple) else str(item)
            by_reason.setdefault(str(error), []).append(name)
        for reason, names in by_reason.items():
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            self.say_once(f"{shown} {what}: {reason}", is_warning=True)

    def heartbeat(self, stream: StreamCounts) -> None:
        """Tell the counts since the last heartbeat, and count anew."""
        self._told.clear()
        stats, self.stats = self.stats, SessionStats()
        self.tell(stats.heartbeat(connections=stream.connections, messages=stream.messages - self._messages))
        self._messages = stream.messages
