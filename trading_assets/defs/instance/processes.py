"""The process of a run on this machine, and whether it has ended."""

from __future__ import annotations

import dagster as dg
import psutil

_CLOCK_TOLERANCE_S = 2.0
"""The clocks of process table and event log may differ by this many seconds."""


_processes: dict[str, tuple[int, float]] = {}
"""Of the runs asked for last. A run has one process: nothing here starts a run again."""

_KEPT = 100


def process_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The process id of a run and the time of the event that has it (Unix seconds); None before the run has started."""
    if run_id in _processes:
        return _processes[run_id]
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=False).records
    for record in found:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if pid is not None:
            while len(_processes) >= _KEPT:
                _processes.pop(next(iter(_processes)), None)
            _processes[run_id] = int(str(pid.value)), record.event_log_entry.timestamp
            return _processes[run_id]
    return None


def process_has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the process of a run has ended; False for a run that has not started or runs on another machine."""
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return False
    found = process_of_run(instance, run_id)
    if found is None:
        return False
    pid, reported_at = found
    try:
        process = psutil.Process(pid)
        # The system may have given the process id to a younger process.
        return process.status() == psutil.STATUS_ZOMBIE or process.create_time() > reported_at + _CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
