"""What a session tells those who watch it: lines, signals, a pulse. How it trades stands in `session`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd


class Check(Protocol):
    """Whether rows obey their schema."""

    @property
    def passed(self) -> bool: ...


@dataclass(frozen=True)
class SessionMessage:
    """A line for the log."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class SignalsFound:
    """New signals, already sent to the executor if their check passed."""

    rows: pd.DataFrame
    check: Check
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Heartbeat:
    """How the session lives, since its last pulse; latencies in ms of the venue's clock, from a candle's end."""

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
    """What has been counted since the last pulse."""

    closes: int = 0
    signals: int = 0
    executed: int = 0
    refused: int = 0
    rejected: int = 0
    by_rest: int = 0
    latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=5000))
    skipped: Counter[str] = field(default_factory=Counter)

    def pulse(self, *, connections: int, messages: int) -> Heartbeat:
        """The counts as a reader sees them, with those of the stream."""
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
