"""The range of hours that a person asks for, parsed from text. `load` decides which of them can be reported."""

from __future__ import annotations

from datetime import UTC, datetime

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, floor_ms, to_ms

_HOUR_FORMATS = ("%Y-%m-%d-%H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_DAY_FORMAT = "%Y-%m-%d"


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
