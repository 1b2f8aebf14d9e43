"""One measured run of the research job: what `trading-assets bench backfill` and `bench hour` start in a process.

The run is Dagster's own: the job of the UI with the tags of a backfill, on an instance on disk. Settings and
`DAGSTER_HOME` come from the environment, as in every run; the last line of output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
import warnings
from typing import Any

import dagster as dg
import sqlalchemy as sa

from trading_assets.definitions import build_definitions
from trading_assets.defs.partitions import key_of
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import sql_table
from trading_assets.market.timeframes import HOUR_MS
from trading_assets.memory import peak_mb
from trading_assets.schemas.tables import HOURLY_TABLES
from trading_assets.settings import load_settings

_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class _Steps:
    """Wall and CPU seconds of each step, told by Dagster's events as they happen."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.materialisations = 0
        self._began: dict[str, tuple[float, float]] = {}

    def follow(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        now = time.perf_counter(), time.process_time()
        if event.event_type is dg.DagsterEventType.STEP_START:
            self._began[event.step_key] = now
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            self.materialisations += 1
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            wall, cpu = self._began[event.step_key]
            self.seconds[event.step_key] = {"wall_s": round(now[0] - wall, 2), "cpu_s": round(now[1] - cpu, 2)}
            print(f"{event.step_key} {now[0] - wall:.1f} s", file=sys.stderr, flush=True)


def measure(first_ms: int, hours: int) -> dict[str, Any]:
    """Run the research of a range of hours, the first given by its start in UTC ms.

    Returns:
        Wall and CPU seconds of the run and of the process before it, peak memory, seconds of each step, and rows.
    """
    warnings.filterwarnings("ignore", module="dagster.*")
    job = build_definitions().resolve_job_def("research")
    # As the schedule asks for an hour, and a backfill for a range.
    first, last = key_of(first_ms), key_of(first_ms + (hours - 1) * HOUR_MS)
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    steps, run_id = _Steps(), str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance:
        instance.add_event_listener(run_id, steps.follow)
        loaded = time.process_time()
        began = time.perf_counter()
        job.execute_in_process(
            instance=instance,
            run_id=run_id,
            run_config=_QUIET,
            partition_key=first if hours == 1 else None,
            tags=tags if hours > 1 else None,
        )
        wall, cpu = time.perf_counter() - began, time.process_time() - loaded
    return {
        "hours": hours,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "start_up_cpu_s": round(loaded, 1),
        "peak_mb": round(peak_mb()),
        "materialisations": steps.materialisations,
        "rows": _rows(first_ms, hours),
        "steps": steps.seconds,
    }


def _rows(first_ms: int, hours: int) -> dict[str, int]:
    database = Database(load_settings().resolved_database_url)
    counted = {}
    with database.read() as connection:
        for table in map(sql_table, HOURLY_TABLES):
            within = table.c.hour_ms.between(first_ms, first_ms + (hours - 1) * HOUR_MS)
            counted[table.name] = connection.execute(sa.select(sa.func.count()).where(within)).scalar_one()
    database.close()
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("first_ms", type=int)
    parser.add_argument("hours", type=int)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.first_ms, arguments.hours)))
