"""In which process of this machine a run lives, and whether it still does."""

from __future__ import annotations

import dagster as dg
import psutil

_STARTS_BEFORE_S = 2.0
"""Clocks of process table and event log may differ by so much."""


def process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Process id of a run, and when its event said so (Unix seconds); None before it has started."""
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=False).records
    for record in found:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def is_gone(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process has ended; False where that cannot be told: not started, or launched elsewhere."""
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return False
    found = process_of(instance, run_id)
    if found is None:
        return False
    pid, said_at = found
    try:
        process = psutil.Process(pid)
        # The number may have gone to another process since.
        return process.status() == psutil.STATUS_ZOMBIE or process.create_time() > said_at + _STARTS_BEFORE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
