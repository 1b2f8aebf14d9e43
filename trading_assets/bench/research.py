"""`trading-assets bench backfill` and `bench hour`: what research costs through Dagster, from an empty home.

Each run is a process of its own, with a home, a database and a Dagster instance on disk of its own; the embedded
exchange is another process, with its clock standing, so that the market is the same in every measurement. CPU time is
of all threads; wall time on a machine that does other things says little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.table import Table

from trading_assets.bench.server import cpu_s
from trading_assets.errors import StorageError
from trading_assets.market.timeframes import HOUR_MS, to_ms
from trading_assets.settings import PREFIX, load_settings
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running, health

END_MS = to_ms(datetime(2026, 3, 2, tzinfo=UTC))
"""End of the last hour."""

_SECONDS_AFTER = 5
_LONGEST_S = 4 * 3600
_DEFAULT_COINS, _MOST_COINS = 80, 600


@dataclass(frozen=True)
class Stores:
    """Where a measurement keeps Dagster's history and the ledger: URLs of PostgreSQL; None is SQLite in its home."""

    history: str | None = None
    ledger: str | None = None

    def dagster_yaml(self, home: Path) -> str:
        """Configuration of an instance whose files are in `home`."""
        if self.history is None:
            storage, config = "event_storage.BatchedSqliteStorage", {"base_dir": str(home / "dagster")}
        else:
            storage, config = "postgres_storage.BatchedPostgresStorage", {"postgres_url": self.history}
        module, name = storage.split(".")
        custom = {"module": f"trading_assets.defs.{module}", "class": name, "config": config}
        return json.dumps({"storage": {"custom": custom}, "telemetry": {"enabled": False}})

    def settings(self) -> dict[str, str]:
        """Settings of the project, without their prefix."""
        return {} if self.ledger is None else {"DATABASE_URL": self.ledger}


SQLITE = Stores()


def backfill(days: int, symbols: int, stores: Stores = SQLITE) -> dict[str, Any]:
    """A backfill of so many days, one run from scan to selections, from an empty candle store.

    Raises:
        StorageError: the run failed; the message has its last words.
    """
    (report,) = _runs([(END_MS - days * 24 * HOUR_MS, days * 24)], symbols, stores)
    return report


def hour(symbols: int) -> dict[str, Any]:
    """The hourly job: `first` on an empty store, `next` one hour later, as it runs every hour.

    Raises:
        StorageError: a run failed; the message has its last words.
    """
    first, following = _runs([(END_MS - 2 * HOUR_MS, 1), (END_MS - HOUR_MS, 1)], symbols)
    return {"first": first, "next": following}


def table(report: dict[str, Any], title: str) -> Table:
    """A report for a person: where the time went, by stage."""
    rows = ", ".join(f"{count:,} {name}" for name, count in report["rows"].items())
    shown = Table(
        "stage", "CPU s", "wall s",
        title=f"{title}: {report['wall_s']:.0f} s of wall time, {report['cpu_s']:.0f} s of CPU and "
        f"{report['start_up_cpu_s']:.1f} s to start, exchange {report['exchange_cpu_s']:.0f} s of CPU, "
        f"peak {report['peak_mb']:,} MB; {report['materialisations']:,} materialisations; {rows}",
        title_justify="left",
    )  # fmt: skip
    for stage, seconds in report["stages"].items():
        shown.add_row(stage, f"{seconds['cpu_s']:.1f}", f"{seconds['wall_s']:.1f}")
    return shown


def _runs(runs: list[tuple[int, int]], symbols: int, stores: Stores = SQLITE) -> list[dict[str, Any]]:
    coins = _DEFAULT_COINS if symbols <= _DEFAULT_COINS // 2 else _MOST_COINS
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = measured_environment(home, symbols, coins, stores)
        clock = ClockSpec(ClockMode.MANUAL, start_ms=END_MS + _SECONDS_AFTER * 1000)
        url = ensure_running(load_settings(home=home, simulator_symbols=coins, simulator_url=None), clock=clock)
        try:
            answer = health(url)
            exchange = psutil.Process(int(answer["pid"])) if answer else psutil.Process()
            return [_run(first_ms, hours, environment, exchange) for first_ms, hours in runs]
        finally:
            requests.post(f"{url}/admin/stop", timeout=10)


def measured_environment(home: Path, symbols: int, coins: int, stores: Stores = SQLITE) -> dict[str, str]:
    """The environment of a run: none of the user's settings but what is measured."""
    (home / "dagster.yaml").write_text(stores.dagster_yaml(home))
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "BYBIT_", "DAGSTER"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = {"HOME": str(home), "SIMULATOR_SYMBOLS": str(coins), "MAX_SYMBOLS": str(symbols)} | stores.settings()
    if coins == _MOST_COINS:
        # So many do not pass the usual filters.
        settings |= {"MIN_VOLUME_24H": "0", "MIN_VOLATILITY": "0", "MAX_SIZE_ERROR_PCT": "101"}
    return {**kept, "DAGSTER_HOME": str(home), **{f"{PREFIX}{name}": value for name, value in settings.items()}}


def _run(first_ms: int, hours: int, environment: dict[str, str], exchange: psutil.Process) -> dict[str, Any]:
    before, began = cpu_s(exchange), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "trading_assets.defs.measured_run", str(first_ms), str(hours)],
        env=environment,
        cwd=environment["DAGSTER_HOME"],
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise StorageError(f"the measured run failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    steps = report.pop("steps")
    return {
        **report,
        "process_wall_s": round(time.perf_counter() - began, 1),
        "exchange_cpu_s": round(cpu_s(exchange) - before, 1),
        "stages": stages(steps, report),
        "steps": steps,
    }


def stages(steps: dict[str, dict[str, float]], report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds of each stage; what is in no step is Dagster's: planning, and events of the run."""
    found: dict[str, dict[str, float]] = {}
    for step, seconds in steps.items():
        name = "schema checks" if step.endswith("SCHEMA") else _STAGES.get(step.split("__")[0], "honesty checks")
        stage = found.setdefault(name, {"cpu_s": 0.0, "wall_s": 0.0})
        for kind, value in seconds.items():
            stage[kind] = round(stage[kind] + value, 2)
    rest = {kind: round(report[kind] - sum(stage[kind] for stage in found.values()), 2) for kind in ("cpu_s", "wall_s")}
    return {**found, "between steps": rest}


_STAGES = {
    "market_scan": "scan",
    "candles": "candles",
    "funding_rates": "funding",
    "backtest_results": "backtests",
    "strategy_selections": "selections",
}
