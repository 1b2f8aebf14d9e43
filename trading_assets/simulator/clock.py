"""The exchange's clock: real, accelerated or advanced by hand. No accounts and no HTTP.

Wall time enters through a callable, so that a test decides what time it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import iso

EARLIEST_MS = 1_577_836_800_000
LATEST_MS = 2_051_222_400_000
"""2020-01-01 and 2035-01-01: no market is asked about times outside."""

WallClock = Callable[[], int]
"""Gives the wall time, UTC ms."""


def wall_ms() -> int:
    """The machine's time, UTC ms."""
    return time.time_ns() // 1_000_000


class ClockMode(StrEnum):
    REAL = "real"
    ACCELERATED = "accelerated"
    MANUAL = "manual"


@dataclass(frozen=True)
class ClockSpec:
    """Which clock an exchange has.

    Attributes:
        start_ms: virtual time at which a new account begins; the machine's time when None. Not for `real`.
        speed: milliseconds of market per real millisecond; only for `accelerated`.
    """

    mode: ClockMode = ClockMode.REAL
    start_ms: int | None = None
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.mode is ClockMode.REAL and (self.start_ms is not None or self.speed != 1.0):
            raise ConfigurationError(
                f"a real clock has neither start nor speed, found start_ms={self.start_ms} and "
                f"speed={self.speed}: leave them out, or choose an accelerated or manual clock"
            )
        if self.start_ms is not None and not EARLIEST_MS <= self.start_ms < LATEST_MS:
            raise ConfigurationError(
                f"the clock must start between {iso(EARLIEST_MS)} and {iso(LATEST_MS)}, found {self.start_ms} ms"
            )
        if not 0 < self.speed <= 1_000_000:
            raise ConfigurationError(f"the clock's speed must be above 0 and at most 1000000, found {self.speed}")


@dataclass(frozen=True)
class ClockPosition:
    """What is stored to resume a virtual clock: it showed `shown_ms` when the wall showed `anchor_ms`."""

    mode: ClockMode
    shown_ms: int
    anchor_ms: int
    speed: float


class Clock(Protocol):
    mode: ClockMode

    def now_ms(self) -> int: ...

    def position(self) -> ClockPosition: ...

    def seconds_until(self, time_ms: int) -> float:
        """Real seconds until the clock shows that time, 0 where it has; infinite where it moves by hand."""
        ...


class RealClock:
    """The wall clock, but never backwards: a correction of the machine's time makes it stand still."""

    mode = ClockMode.REAL

    def __init__(self, wall: WallClock = wall_ms) -> None:
        self._wall = wall
        self._latest_ms = wall()

    def now_ms(self) -> int:
        self._latest_ms = max(self._latest_ms, self._wall())
        return self._latest_ms

    def position(self) -> ClockPosition:
        now = self.now_ms()
        return ClockPosition(self.mode, now, now, 1.0)

    def seconds_until(self, time_ms: int) -> float:
        return max(time_ms - self.now_ms(), 0) / 1000


class AcceleratedClock:
    """Runs `speed` times as fast as the wall, also while the exchange is stopped."""

    mode = ClockMode.ACCELERATED

    def __init__(self, shown_ms: int, anchor_ms: int, speed: float, wall: WallClock = wall_ms) -> None:
        self._shown_ms, self._anchor_ms, self._speed, self._wall = shown_ms, anchor_ms, speed, wall
        self._latest_ms = shown_ms

    def now_ms(self) -> int:
        elapsed = self._wall() - self._anchor_ms
        shown = min(self._shown_ms + int(elapsed * self._speed), LATEST_MS)
        self._latest_ms = max(self._latest_ms, shown)
        return self._latest_ms

    def set_speed(self, speed: float) -> None:
        """Go on from now at another speed.

        Raises:
            ConfigurationError: no clock may have it.
        """
        speed = ClockSpec(self.mode, speed=speed).speed
        self._shown_ms, self._anchor_ms, self._speed = self.now_ms(), self._wall(), speed

    def position(self) -> ClockPosition:
        return ClockPosition(self.mode, self._shown_ms, self._anchor_ms, self._speed)

    def seconds_until(self, time_ms: int) -> float:
        return max(time_ms - self.now_ms(), 0) / 1000 / self._speed


class ManualClock:
    """Stands still until it is set."""

    mode = ClockMode.MANUAL

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def set_ms(self, time_ms: int) -> None:
        """Move forward to `time_ms`.

        Raises:
            ValueError: that lies in the clock's past, or behind `LATEST_MS`.
        """
        if time_ms > LATEST_MS:
            raise ValueError(f"the clock ends at {iso(LATEST_MS)}, asked for is {time_ms} ms: give an earlier time")
        if time_ms < self._now_ms:
            raise ValueError(
                f"the clock shows {self._now_ms} ({iso(self._now_ms)}) and cannot go back to {time_ms}: "
                "give a later time"
            )
        self._now_ms = time_ms

    def position(self) -> ClockPosition:
        return ClockPosition(self.mode, self._now_ms, self._now_ms, 1.0)

    def seconds_until(self, time_ms: int) -> float:
        return 0.0 if time_ms <= self._now_ms else math.inf


def open_clock(spec: ClockSpec | None, stored: ClockPosition | None, wall: WallClock = wall_ms) -> Clock:
    """The clock of an account: resumed where it was stored, else new as `spec` says (real when None).

    Raises:
        ConfigurationError: the stored clock is of another mode than the one asked for.
    """
    if stored is None:
        spec = spec or ClockSpec()
        start = wall() if spec.start_ms is None else spec.start_ms
        match spec.mode:
            case ClockMode.MANUAL:
                return ManualClock(start)
            case ClockMode.ACCELERATED:
                return AcceleratedClock(start, wall(), spec.speed, wall)
        return RealClock(wall)
    if spec is not None and spec.mode is not stored.mode:
        raise ConfigurationError(
            f"the stored account runs on a {stored.mode.value} clock, asked for is a {spec.mode.value} one"
        )
    match stored.mode:
        case ClockMode.MANUAL:
            return ManualClock(stored.shown_ms)
        case ClockMode.ACCELERATED:
            resumed = AcceleratedClock(stored.shown_ms, stored.anchor_ms, stored.speed, wall)
            if spec is None or spec.speed == stored.speed:
                return resumed
            return AcceleratedClock(resumed.now_ms(), wall(), spec.speed, wall)
    return RealClock(wall)
