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
from collections.abc import Sequence
from typing import Any

import dagster as dg

from trading_assets.core.schemas import HOURLY_TABLES
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, local_ms
from trading_assets.definitions import research_job
from trading_assets.defs.backfill import backfill
from trading_assets.defs.backfill_processes import Told, cpu_s
from trading_assets.ledger import sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.market.opening import open_candle_store
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, fill_funding, scan_hours
from trading_assets.strategies.registry import known_strategies
from trading_assets.venues import open_market_data

DAY_HOURS = 24


class _Steps:
    """Wall and CPU seconds of each step in all runs, and the peak of memory of each process."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.peaks_mb: dict[int, float] = {}
        self.materialisations = 0
        self._began: dict[tuple[int, str], Told] = {}

    def follow(self, told: Told) -> None:
        self.peaks_mb[told.process] = told.peak_mb
        if told.step is None:
            return
        if told.kind is dg.DagsterEventType.STEP_START:
            self._began[told.process, told.step] = told
        elif told.kind is dg.DagsterEventType.ASSET_MATERIALIZATION:
            self.materialisations += 1
        elif told.kind is dg.DagsterEventType.STEP_SUCCESS:
            began = self._began[told.process, told.step]
            wall_s, cpu_s = told.wall_s - began.wall_s, told.cpu_s - began.cpu_s
            before = self.seconds.get(told.step, {"wall_s": 0.0, "cpu_s": 0.0})
            self.seconds[told.step] = {
                "wall_s": round(before["wall_s"] + wall_s, 2),
                "cpu_s": round(before["cpu_s"] + cpu_s, 2),
            }
            print(f"{told.step} {wall_s:.1f} s, {told.peak_mb:.0f} MB", file=sys.stderr, flush=True)


def measure(first_ms: int, hours: int, processes: int = 1, *, held: bool = False) -> dict[str, Any]:
    """Run the research of a range of hours, the first given by its start in UTC ms.

    Args:
        held: the store has their candles before time is taken.

    Returns:
        Wall seconds, CPU seconds of all processes, those of this one before the runs, peak memory of each process that
        ran them, seconds of each step, and rows.
    """
    warnings.filterwarnings("ignore", module="dagster.*")
    steps = _Steps()
    if held:
        _fill([first_ms + hour * HOUR_MS for hour in range(hours)])
    loaded, began = cpu_s(), time.perf_counter()
    last_ms = first_ms + (hours - 1) * HOUR_MS
    for _ in backfill(research_job, first_ms, last_ms, steps.follow, processes=processes):
        pass
    wall, cpu = time.perf_counter() - began, cpu_s() - loaded
    return {
        "hours": hours,
        "processes": len(steps.peaks_mb),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "start_up_cpu_s": round(loaded, 1),
        "peak_mb": round(max(steps.peaks_mb.values())),
        "peaks_mb": [round(peak) for peak in steps.peaks_mb.values()],
        "materialisations": steps.materialisations,
        "rows": _rows(first_ms, hours),
        "steps": steps.seconds,
        "disk": _disk(),
    }


def _fill(hours: Sequence[int]) -> None:
    """Fetch what the range will read, as its stages do."""
    settings = load_settings()
    source, store = open_market_data(settings), open_candle_store(settings)
    rows = scan_hours(source, store, hours, settings).rows
    symbols = {int(str(hour)): list(of_hour) for hour, of_hour in rows.groupby("hour_ms")["symbol"]}
    limits, strategies = QualityLimits.from_settings(settings), known_strategies()
    for timeframe in TRADED_TIMEFRAMES:
        fill_candles(source, store, timeframe, symbols, strategies, limits)
    fill_funding(source, store, symbols)


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
    parser.add_argument("processes", type=int)
    parser.add_argument("held", type=int, choices=(0, 1))
    given = parser.parse_args()
    print(json.dumps(measure(given.first_ms, given.hours, given.processes, held=bool(given.held))))
