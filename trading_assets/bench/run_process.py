"""Measured runs of the research job: what `trading-assets bench backfill` and `bench hour` start in a process.

The runs are Dagster's own, as `trading-assets backfill` has them, on an instance on disk. Settings and `DAGSTER_HOME`
come from the environment, as in every run; the last line of output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from typing import Any

import dagster as dg

from trading_assets.core.memory import peak_mb
from trading_assets.core.schemas import HOURLY_TABLES
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, local_ms
from trading_assets.definitions import build_definitions
from trading_assets.defs.backfill import backfill, research_range
from trading_assets.ledger import sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions

DAY_HOURS = 24


class _Steps:
    """Wall and CPU seconds of each step in all runs, and the peak of memory until its end, told by Dagster's events."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.peaks_mb: dict[str, int] = {}
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
            before = self.seconds.get(event.step_key, {"wall_s": 0.0, "cpu_s": 0.0})
            self.seconds[event.step_key] = {
                "wall_s": round(before["wall_s"] + now[0] - wall, 2),
                "cpu_s": round(before["cpu_s"] + now[1] - cpu, 2),
            }
            self.peaks_mb[event.step_key] = round(peak_mb())
            print(f"{event.step_key} {now[0] - wall:.1f} s, {peak_mb():.0f} MB", file=sys.stderr, flush=True)


def measure(first_ms: int, hours: int) -> dict[str, Any]:
    """Run the research of a range of hours, the first given by its start in UTC ms.

    Returns:
        Wall and CPU seconds of the run and of the process before it, peak memory, seconds of each step, and rows.
    """
    warnings.filterwarnings("ignore", module="dagster.*")
    job = build_definitions().resolve_job_def("research")
    steps = _Steps()
    with dg.DagsterInstance.get() as instance:
        loaded = time.process_time()
        began = time.perf_counter()
        if hours == 1:
            research_range(instance, job, first_ms, hours, steps.follow)
        else:
            for _ in backfill(instance, job, first_ms, first_ms + (hours - 1) * HOUR_MS, steps.follow):
                pass
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
        "peaks_mb": steps.peaks_mb,
        "disk": _disk(),
    }


def _disk() -> dict[str, float]:
    """MB of the ledger after the run, and of ledger and files once all complete days are sealed; CPU s that took."""
    database = Database.of(load_settings())
    written, began = database.size(), time.process_time()
    sealed = sealing.seal(database, sealing.before_ms(database, 0.0) or 0, local_ms)
    took = time.process_time() - began
    database.compact()
    found = {
        "days_sealed": len(sealed.days),
        "seal_cpu_s": round(took, 2),
        "ledger_mb": round(written / 1e6, 2),
        "ledger_sealed_mb": round(database.size() / 1e6, 2),
        "files_mb": round(sealed.bytes / 1e6, 2),
    }
    database.close()
    return found


def _rows(first_ms: int, hours: int) -> dict[str, int]:
    """How many each table has, sealed ones included."""
    database = Database.of(load_settings())
    counted = dict.fromkeys((table.name for table in HOURLY_TABLES), 0)
    for begin in range(0, hours, DAY_HOURS):
        some = [first_ms + hour * HOUR_MS for hour in range(begin, min(begin + DAY_HOURS, hours))]
        for table in HOURLY_TABLES:
            counted[table.name] += len(read_partitions(database, table, some, columns=["hour_ms"]))
    database.close()
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("first_ms", type=int)
    parser.add_argument("hours", type=int)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.first_ms, arguments.hours)))
