"""`trading-assets bench backfill` and `bench hour`: what research costs through Dagster, from an empty home.

Each measurement is a process of its own, or several, with a home, a database and a Dagster instance on disk of its own;
the embedded exchange is another process, with its clock standing, so that the market is the same in every measurement.
CPU time is of all threads; wall time on a machine that does other things says little.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from trading_assets.bench.measurement import (
    MAX_COINS,
    SQLITE,
    Stores,
    cpu_s,
    measured_environment,
    run_measured,
    standing_exchange,
)
from trading_assets.core.timeframes import HOUR_MS, to_ms

END_MS = to_ms(datetime(2026, 3, 2, tzinfo=UTC))
"""End of the last hour."""

_SECONDS_AFTER = 5
_LONGEST_S = 4 * 3600
_DEFAULT_COINS = 80


def backfill(
    days: int,
    symbols: int,
    stores: Stores = SQLITE,
    processes: int = 1,
    *,
    held: bool = False,
    walk_forward: bool = False,
) -> dict[str, Any]:
    """A backfill of so many days, from scan to selections, in so many processes.

    Args:
        held: the candles are there, so that nothing is fetched; else the candle store is empty.
        walk_forward: the report of these days is made after it, in another process.

    Raises:
        StorageError: the run failed; the message has its last words.
    """
    coins = _coins(symbols)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = measured_environment(home, symbols, coins, stores)
        with standing_exchange(home, coins, END_MS + _SECONDS_AFTER * 1000) as exchange:
            first_ms = END_MS - days * 24 * HOUR_MS
            report = _run(first_ms, days * 24, processes, held, environment, exchange)
            if walk_forward:
                module, asked = "trading_assets.bench.report_process", (first_ms, END_MS - HOUR_MS)
                report["report"] = run_measured(module, *asked, environment=environment, timeout_s=_LONGEST_S)
    return report


def hour(symbols: int) -> dict[str, Any]:
    """The hourly job: `first` on an empty store, `next` one hour later, as it runs every hour.

    Raises:
        StorageError: a run failed; the message has its last words.
    """
    coins = _coins(symbols)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = measured_environment(home, symbols, coins)
        with standing_exchange(home, coins, END_MS + _SECONDS_AFTER * 1000) as exchange:
            first, following = (_run(END_MS - back * HOUR_MS, 1, 1, False, environment, exchange) for back in (2, 1))
    return {"first": first, "next": following}


def table(report: dict[str, Any], title: str) -> Table:
    """A report for a person: where the time went, by stage."""
    disk, peaks = report["disk"], " and ".join(f"{peak:,}" for peak in report["peaks_mb"])
    rows = ", ".join(f"{count:,} {name}" for name, count in report["rows"].items())
    shown = Table(
        "stage", "CPU s", "wall s",
        title=f"{title}: {report['wall_s']:.0f} s of wall time, {report['cpu_s']:.0f} s of CPU and "
        f"{report['start_up_cpu_s']:.1f} s to start, exchange {report['exchange_cpu_s']:.0f} s of CPU, "
        f"peak {peaks} MB; {report['materialisations']:,} materialisations; {rows}; ledger "
        f"{disk['ledger_mb']:,.1f} MB, and with {disk['days_sealed']} days sealed {disk['ledger_sealed_mb']:,.1f} and "
        f"{disk['files_mb']:,.1f} MB of files, in {disk['seal_cpu_s']:.1f} s of CPU",
        title_justify="left",
    )  # fmt: skip
    for stage, seconds in report["stages"].items():
        shown.add_row(stage, f"{seconds['cpu_s']:.1f}", f"{seconds['wall_s']:.1f}")
    return shown


def report_line(report: dict[str, Any]) -> str:
    """What the report of a backfill took, for a person."""
    files = ", ".join(f"{name} {size:,.1f}" for name, size in report["files_mb"].items())
    return (
        f"its walk-forward report: {report['wall_s']:.0f} s of wall time, {report['cpu_s']:.0f} s of CPU and "
        f"{report['start_up_cpu_s']:.1f} s to start, peak {report['peak_mb']:,} MB; {report['trades']:,} trades; "
        f"MB: {files}"
    )


def _coins(symbols: int) -> int:
    """How many coins the market of a measurement has."""
    return _DEFAULT_COINS if symbols <= _DEFAULT_COINS // 2 else MAX_COINS


def _run(
    first_ms: int, hours: int, processes: int, held: bool, environment: dict[str, str], exchange: psutil.Process
) -> dict[str, Any]:
    before, began = cpu_s(exchange), time.perf_counter()
    module, asked = "trading_assets.bench.run_process", (first_ms, hours, processes, int(held))
    report = run_measured(module, *asked, environment=environment, timeout_s=_LONGEST_S)
    steps = report.pop("steps")
    return {
        **report,
        "process_wall_s": round(time.perf_counter() - began, 1),
        "exchange_cpu_s": round(cpu_s(exchange) - before, 1),
        "stages": stages(steps, report),
        "steps": steps,
    }


def stages(steps: dict[str, dict[str, float]], report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds of each stage, of all processes together; what is in no step is start-up, sealing, and Dagster's planning
    and events."""
    found: dict[str, dict[str, float]] = {}
    for step, seconds in steps.items():
        name = "schema checks" if step.endswith("SCHEMA") else _STAGES.get(step.split("__")[0], "backtest checks")
        stage = found.setdefault(name, {"cpu_s": 0.0, "wall_s": 0.0})
        for kind, value in seconds.items():
            stage[kind] = round(stage[kind] + value, 2)
    whole = {"cpu_s": report["cpu_s"], "wall_s": report["wall_s"] * report["processes"]}
    rest = {kind: round(whole[kind] - sum(stage[kind] for stage in found.values()), 2) for kind in whole}
    return {**found, "between steps": rest}


_STAGES = {
    "market_scan": "scan",
    "candles": "candles",
    "funding_rates": "funding",
    "backtest_results": "backtests",
    "strategy_selections": "selections",
    "grid_results": "grids",
    "grid_selections": "grids",
}
