"""The partitions definitions, hours and days, and the way from a run's partitions to hours (int64 UTC ms)."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_KEY_FORMAT, hour_key, to_datetime, to_ms

DAY_FORMAT = "%Y-%m-%d"

hourly = dg.HourlyPartitionsDefinition(start_date=load_settings(lenient=True).partitions_start, timezone="UTC")
"""An hour is a partition; its as-of is its end."""

daily = dg.DailyPartitionsDefinition(start_date=load_settings(lenient=True).partitions_start, timezone="UTC")
"""Days, for what looks back on one; its as-of is its end."""


def day_key_of(day_ms: int) -> str:
    """The partition key of the day that starts at `day_ms`."""
    return to_datetime(day_ms).strftime(DAY_FORMAT)


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
