"""The partitions definitions, hours and days, and the way from a run's partitions to hours (int64 UTC ms)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import dagster as dg

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_KEY_FORMAT, HOUR_MS, hour_key, to_datetime, to_ms

DAY_FORMAT = "%Y-%m-%d"


class HoursOfUtc(dg.HourlyPartitionsDefinition):
    """Dagster's hours of UTC, whose keys are made once: each check of a run lists all hours that there ever were."""

    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: object | None = None
    ) -> Sequence[str]:
        """The keys of all hours that have ended, ascending."""
        if current_time is not None:
            return super().get_partition_keys(current_time)
        first, last = self.get_first_partition_key(), self.get_last_partition_key()
        return [] if first is None or last is None else list(_keys_between(first, last))


@lru_cache(maxsize=4)
def _keys_between(first: str, last: str) -> tuple[str, ...]:
    return tuple(map(key_of, range(hour_of(first), hour_of(last) + 1, HOUR_MS)))


hourly = HoursOfUtc(start_date=load_settings(lenient=True).partitions_start, timezone="UTC")
"""An hour is a partition; its as-of is its end."""

daily = dg.DailyPartitionsDefinition(start_date=load_settings(lenient=True).partitions_start, timezone="UTC")
"""Days, for what looks back on one; its as-of is its end."""


def day_key_of(day_ms: int) -> str:
    """The partition key of the day that starts at `day_ms`."""
    return to_datetime(day_ms).strftime(DAY_FORMAT)


@lru_cache(maxsize=100_000)
def hour_of(partition_key: str) -> int:
    """Start of the partition's hour, or day, UTC ms."""
    form = HOUR_KEY_FORMAT if ":" in partition_key else DAY_FORMAT
    return to_ms(datetime.strptime(partition_key, form).replace(tzinfo=UTC))


def key_of(hour_ms: int) -> str:
    """The partition key of the hour that starts at `hour_ms`."""
    return hour_key(hour_ms)


def hours_of(context: dg.AssetExecutionContext | dg.OutputContext | dg.InputContext) -> list[int]:
    """The hours (or days) of a run, ascending: one, or the range that a backfill handed over."""
    if isinstance(context, dg.OutputContext | dg.InputContext):
        return [hour_of(key) for key in context.asset_partition_keys]
    return [hour_of(key) for key in context.partition_keys]
