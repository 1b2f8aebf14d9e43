"""Timeframes of the system, their windows, and arithmetic of hours and candle boundaries (int64 UTC ms)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum

from trading_assets.core.errors import ConfigurationError

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

HOUR_KEY_FORMAT = "%Y-%m-%d-%H:%M"
_HOUR_FORMATS = (HOUR_KEY_FORMAT, "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_DAY_FORMAT = "%Y-%m-%d"

WARM_UP_BARS = 200
"""Bars before a window that only feed indicators, unless a strategy declares more. Wilder's RSI, and the ATR of every
stop, forget their start after about 200."""

LIVE_BARS = 200
"""Newest closed bars that the live finder reads, behind the warm-up."""


class Timeframe(StrEnum):
    """A candle length. The eight traded ones, and 1D for levels. Values are the names in tables."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    M60 = "60m"
    M120 = "120m"
    M240 = "240m"
    D1 = "1D"

    @property
    def minutes(self) -> int:
        return self.ms // MINUTE_MS

    @property
    def ms(self) -> int:
        return _MS[self]

    @property
    def window_bars(self) -> int:
        """Bars of the backtest window."""
        return _WINDOW_DAYS[self] * DAY_MS // self.ms

    @property
    def bars_per_year(self) -> float:
        return 365 * DAY_MS / self.ms


TRADED_TIMEFRAMES: tuple[Timeframe, ...] = tuple(tf for tf in Timeframe if tf is not Timeframe.D1)

_MS: dict[Timeframe, int] = {
    timeframe: DAY_MS if timeframe is Timeframe.D1 else int(timeframe.value[:-1]) * MINUTE_MS for timeframe in Timeframe
}

_WINDOW_DAYS: dict[Timeframe, int] = {
    Timeframe.M1: 4,
    Timeframe.M3: 4,
    Timeframe.M5: 4,
    Timeframe.M15: 11,
    Timeframe.M30: 21,
    Timeframe.M60: 21,
    Timeframe.M120: 42,
    Timeframe.M240: 42,
    Timeframe.D1: 42,
}


def floor_ms(time_ms: int, step_ms: int) -> int:
    """Latest multiple of `step_ms` not after `time_ms`. Candles of every timeframe start on such multiples."""
    return time_ms - time_ms % step_ms


def as_of_ms(hour_ms: int) -> int:
    """The as-of of the hourly partition that starts at `hour_ms`: its end. Nothing at or after it is read."""
    return hour_ms + HOUR_MS


def local_ms() -> int:
    """The local clock, UTC ms. The venue's time, and how far the two may differ, is the connector's business."""
    return time.time_ns() // 1_000_000


def to_datetime(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds of an aware datetime; a naive one is a ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"expected an aware datetime (with a time zone), found {moment!r}")
    return round(moment.timestamp() * 1000)


def iso(time_ms: int) -> str:
    """`2026-03-02T05:00:00Z`, for messages and metadata; a time beyond the calendar as its number."""
    try:
        return to_datetime(time_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def hour_key(hour_ms: int) -> str:
    """`2026-03-02-05:00`: the key of the hourly partition that starts at `hour_ms`."""
    return to_datetime(hour_ms).strftime(HOUR_KEY_FORMAT)


def first_hour_ms(text: str | None) -> int | None:
    """Start of the first hour of a range, UTC ms; a day stands for its first hour, nothing for no bound.

    Raises:
        ConfigurationError: it is neither a day nor an hour.
    """
    return _parsed(text, 0) if text else None


def last_hour_ms(text: str | None) -> int | None:
    """Start of the last hour of a range, UTC ms; a day stands for its last hour, nothing for no bound.

    Raises:
        ConfigurationError: it is neither a day nor an hour.
    """
    return _parsed(text, DAY_MS - HOUR_MS) if text else None


def _parsed(text: str, of_day_ms: int) -> int:
    for form in (_DAY_FORMAT, *_HOUR_FORMATS):
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return to_ms(moment) + of_day_ms if form == _DAY_FORMAT else floor_ms(to_ms(moment), HOUR_MS)
    raise ConfigurationError(
        f"{text!r} is no hour; expected a day such as 2026-03-02, or an hour 2026-03-02-05:00 (UTC)"
    )
