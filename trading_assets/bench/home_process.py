"""How many bytes each thing leaves behind: what `trading-assets bench home` starts in a process of its own.

Real jobs on an instance on disk; settings and `DAGSTER_HOME` come from the environment, as in every run. The last line
of output is one JSON object. What a month adds up to, `bench.home` says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import time
import warnings
from pathlib import Path

import dagster as dg

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.definitions import build_definitions
from trading_assets.defs.instance.dagster_private import InstigatorType, TickData, TickStatus
from trading_assets.defs.partitions import key_of

RUNS, TICKS = 20, 500

_SKIPPED = "run 0a1b2c3d trades on the selection 2026-03-02T01:00:00Z#0123abcd; the next candle closes in a minute"


def measure(end_ms: int) -> dict[str, float]:
    """Bytes that each thing adds, the market's clock standing after `end_ms`.

    Returns:
        `research_run`, `reconcile_run`, `trade_run` and `tick`: of Dagster; `ledger_hour`; `candles_first` of the first
        hour researched, `candles_day` of a day later.
    """
    warnings.filterwarnings("ignore", module="dagster.*")
    settings, definitions = load_settings(), build_definitions()
    found: dict[str, float] = {}
    with dg.DagsterInstance.get() as instance:
        dagster = Path(instance.root_directory) / "dagster"

        def run(job: str, hour_ms: int | None = None) -> None:
            definitions.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=None if hour_ms is None else key_of(hour_ms)
            )

        run("research", end_ms - HOUR_MS - DAY_MS)
        found["candles_first"] = _bytes(settings.candle_store)
        run("research", end_ms - 2 * HOUR_MS)
        found["candles_day"] = _bytes(settings.candle_store) - found["candles_first"]
        ledger, before = _bytes(settings.home, "trading_assets.db"), _bytes(dagster)
        run("research", end_ms - HOUR_MS)
        found["ledger_hour"] = _bytes(settings.home, "trading_assets.db") - ledger
        found["research_run"] = _bytes(dagster) - before
        for job in ("reconcile", "trade"):
            before = _bytes(dagster)
            for _ in range(RUNS):
                run(job)
            found[f"{job}_run"] = (_bytes(dagster) - before) / RUNS
        before = _bytes(dagster)
        for _ in range(TICKS):
            instance.create_tick(
                TickData(
                    "a" * 40,
                    "trade_when_candles_close",
                    InstigatorType.SENSOR,
                    TickStatus.SKIPPED,
                    time.time(),
                    selector_id="b" * 40,
                    skip_reason=_SKIPPED,
                )
            )
        found["tick"] = (_bytes(dagster) - before) / TICKS
    return found


def _bytes(folder: Path, name: str = "*") -> int:
    """Of all files below, once databases have taken in their logs of writes."""
    for path in folder.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in folder.rglob(name) if path.is_file())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("end_ms", type=int)
    print(json.dumps(measure(parser.parse_args().end_ms)))
