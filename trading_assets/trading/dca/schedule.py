"""When a DCA plan is due: an interval from a first time on, or five fields of cron, UTC. Pure.

Times come from the schedule, never from the moment of a look. So whoever looks, and however often, finds the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from cronsim import CronSim, CronSimError

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, to_datetime, to_ms

_UNITS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_INTERVAL = re.compile(r"(?:every\s+)?(\d{1,5})\s*([mhdw])")
_LONGEST_MS = 366 * DAY_MS


class DcaError(TradingAssetsError):
    """A DCA plan cannot be as it is asked for, or there is none. Nothing was done."""


@dataclass(frozen=True)
class Schedule:
    """Times at which something is due.

    Attributes:
        text: `every 4h` (m, h, d, w), or five fields of cron such as `0 9 * * 1`, UTC.
        anchor_ms: first time of an interval; of cron, no time before it counts. UTC ms.
    """

    text: str
    anchor_ms: int

    @property
    def interval_ms(self) -> int | None:
        """Length of an interval; None of cron."""
        found = _INTERVAL.fullmatch(self.text.strip().lower())
        return int(found[1]) * _UNITS[found[2]] if found else None

    def after(self, time_ms: int) -> Iterator[int]:
        """Yield the times that come after a moment, ascending.

        Raises:
            DcaError: it is no schedule.
        """
        step = self.interval_ms
        if step is not None:
            number = max((time_ms - self.anchor_ms) // step + 1, 0)
            while True:
                yield self.anchor_ms + number * step
                number += 1
        start = to_datetime(max(time_ms, self.anchor_ms - 1))
        try:
            yield from map(to_ms, CronSim(self.text, start))
        except CronSimError as error:
            raise _unknown(self.text, str(error)) from error

    def between(self, after_ms: int, until_ms: int, most: int) -> list[int]:
        """The times in (after_ms, until_ms], ascending, at most so many."""
        if until_ms <= after_ms:
            return []
        return list(islice(takewhile(lambda due: due <= until_ms, self.after(after_ms)), most))

    def next_after(self, time_ms: int) -> int | None:
        """The first time after a moment; None where there is none any more."""
        return next(self.after(time_ms), None)


def schedule_of(text: str, anchor_ms: int) -> Schedule:
    """Check a schedule, and return it in one spelling.

    Raises:
        DcaError: it is neither an interval nor cron, is never due, or is due more often than once a minute.
    """
    plain = " ".join(text.split())
    found = _INTERVAL.fullmatch(plain.lower())
    if found is not None:
        plain = f"every {int(found[1])}{found[2]}"
        if not MINUTE_MS <= int(found[1]) * _UNITS[found[2]] <= _LONGEST_MS:
            raise DcaError(f"{plain}: an interval is one minute to one year")
    elif len(plain.split()) != 5:
        raise _unknown(text, f"{len(plain.split())} fields were found, five are expected")
    schedule = Schedule(plain, anchor_ms)
    if schedule.next_after(anchor_ms) is None:
        raise DcaError(f"the schedule {plain!r} is never due")
    return schedule


def _unknown(text: str, why: str) -> DcaError:
    return DcaError(f"{text!r} is no schedule ({why}); such as 'every 4h', or five fields of cron, UTC: '0 9 * * 1'")
