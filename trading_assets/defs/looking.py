"""What schedules and sensors look at before they decide: runs in progress and newest writes. No decisions."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from trading_assets.defs.partitions import hour_of, key_of
from trading_assets.market.timeframes import TRADED_TIMEFRAMES

BACKTEST_KEYS = [dg.AssetKey(["backtest_results", timeframe.value]) for timeframe in TRADED_TIMEFRAMES]
SELECTION_KEY = dg.AssetKey("strategy_selections")

RECENT_HOURS = 6
"""Hours behind now that the every-minute look covers."""

_ALIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def in_progress(instance: dg.DagsterInstance, *job_names: str) -> bool:
    """Whether a run of one of the jobs is queued or running."""
    return any(instance.get_runs_count(dg.RunsFilter(job_name=name, statuses=_ALIVE)) > 0 for name in job_names)


def latest_writes(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], hours_ms: Sequence[int]) -> dict[int, int]:
    """Newest storage id of a materialisation of any of the assets, by hour; hours without one are absent."""
    partitions = {key_of(hour) for hour in hours_ms}
    writes: dict[int, int] = {}
    for key in keys:
        found = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions)
        for partition, storage_id in found.items():
            hour = hour_of(partition)
            writes[hour] = max(writes.get(hour, 0), storage_id)
    return writes
