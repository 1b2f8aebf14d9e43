"""`trading-assets bench soak`: an installation works for minutes, and then its history is looked through.

Daemon, code server, schedules and sensors are Dagster's own; the embedded exchange's clock goes faster, so that hours
come by. Besides the hourly job and the session, backfills of past hours are asked for as long as it lasts. Nothing is
killed here: that is `chaos day`.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import sqlalchemy as sa

from trading_assets.bench.measurement import SQLITE, Stores
from trading_assets.chaos.installation import Installation, Runs, installed
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals

START_MS = 1_772_409_660_000
"""2026-03-02 00:01 UTC: where the market begins."""

SETTINGS = {
    "SIMULATOR_SYMBOLS": 40,
    "MAX_SYMBOLS": 12,
    "SELECTION_PRESET": "volume_loose",
    "MAX_PRICE_DEVIATION_PCT": 5,
    "MAX_SPREAD_PCT": 1,
}

BACKFILL_HOURS = 3
BACKFILL_BEGINS_S = 60.0
BACKFILL_EVERY_S = 120.0
LOOK_EVERY_S = 2.0

TROUBLE = (
    "database is locked",
    "OperationalError",
    "DatabaseLockedError",
    "Exception while storing event batch",
    "too many clients",
    "deadlock detected",
    "QueuePool limit",
    "Caught an error",
)
"""Words in a log that a storage in trouble leaves."""


LINES_SHOWN = 10


@dataclass
class SoakReport:
    """What was seen.

    Attributes:
        runs: by job and status; `failed_runs` by job and reason.
        trouble: number of lines of the logs with one of the words of `TROUBLE`, by word; `trouble_lines` shows some.
        lost: a sentence for each run whose history is not whole.
        cpu_s: processor time of daemon, code server and runs; of the exchange and of a database server it is not.
        peak_mb: most memory of the same processes at once, memory that they share counted in each.
        disk_mb: by directory; `postgresql` is the size of both databases.
    """

    minutes: float
    speed: float
    storage: str
    runs: dict[str, dict[str, int]] = field(default_factory=dict)
    failed_runs: dict[str, int] = field(default_factory=dict)
    backfills: int = 0
    events: int = 0
    materialisations: int = 0
    orders: int = 0
    trouble: dict[str, int] = field(default_factory=dict)
    trouble_lines: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    peak_processes: int = 0
    disk_mb: dict[str, float] = field(default_factory=dict)


def run_soak(
    minutes: float, speed: float, open_runs: Callable[[], Runs], tell: Callable[[str], None], stores: Stores = SQLITE
) -> SoakReport:
    """Let an installation work for `minutes` of the clock, in a temporary home.

    Args:
        speed: seconds of market for each second.
        open_runs: opens the scheduler's books of the instance that `DAGSTER_HOME` names.
        tell: takes a line of progress now and then.

    Raises:
        ExchangeUnavailableError: the embedded exchange or the daemon does not start, or the daemon ended.
    """
    report = SoakReport(minutes, speed, "sqlite" if stores.history is None else "postgresql")
    with tempfile.TemporaryDirectory(prefix="trading-assets-soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        values = {**SETTINGS, **stores.settings()}
        with installed(folder, values, start_ms=START_MS, speed=speed, history_url=stores.history) as one:
            # Both stores are made before the daemon starts.
            database, runs = Database(one.settings.resolved_database_url), open_runs()
            try:
                _work(one, report, tell)
                report.runs, report.failed_runs = runs.counts(), runs.failures()
                report.events, report.materialisations = runs.events(), runs.materialisations()
                report.lost = runs.inconsistencies()
                with database.read() as connection:
                    signals = sa.select(sa.func.count()).where(entry_signals.c.order_link_id.is_not(None))
                    report.orders = connection.execute(signals).scalar_one()
                _look_through_logs(folder, report)
                report.disk_mb = {child.name: _mb(child) for child in sorted(folder.iterdir()) if _mb(child) >= 0.1}
                report.disk_mb |= dict(_server_mb(stores))
            finally:
                runs.close()
                database.close()
    return report


def _work(one: Installation, report: SoakReport, tell: Callable[[str], None]) -> None:
    one.daemon.start()
    assert one.daemon.process is not None
    began, cpu = time.monotonic(), _Cpu(psutil.Process(one.daemon.process.pid))
    next_backfill, asked = BACKFILL_BEGINS_S, []
    with (one.folder / "backfills.log").open("wb") as log:
        while (passed := time.monotonic() - began) < report.minutes * 60:
            if not one.daemon.is_running or not one.exchange.is_running:
                raise ExchangeUnavailableError(f"daemon or exchange ended:\n{_tail(one.daemon.log)}")
            if passed >= next_backfill:
                asked.append(_ask_for_backfill(one, report.backfills, log))
                report.backfills += 1
                next_backfill += BACKFILL_EVERY_S
                tell(f"{passed:.0f} s: backfill {report.backfills} asked for, {cpu.peak_mb:.0f} MB at most so far")
            cpu.look()
            time.sleep(LOOK_EVERY_S)
        for each in asked:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(60)
    cpu.look()
    report.cpu_s, report.peak_mb, report.peak_processes = round(cpu.total_s, 1), round(cpu.peak_mb), cpu.peak_processes
    one.daemon.stop()


def _ask_for_backfill(one: Installation, number: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Hours before the market's beginning, others each time, as a person asks for them."""
    last = START_MS // HOUR_MS * HOUR_MS - (2 + number * BACKFILL_HOURS) * HOUR_MS
    keys = [
        time.strftime("%Y-%m-%d-%H:00", time.gmtime((last - back * HOUR_MS) / 1000)) for back in range(BACKFILL_HOURS)
    ]
    command = [sys.executable, "-m", "dagster", "job", "backfill", "--noprompt", "-j", "research"]
    command += ["--from", keys[-1], "--to", keys[0], "-m", "trading_assets.definitions"]
    return subprocess.Popen(command, cwd=one.folder, stdout=log, stderr=log)


class _Cpu:
    """Processor time and memory of a process and its children, also of those that have ended since."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._times: dict[tuple[int, float], float] = {}
        self.peak_mb, self.peak_processes = 0.0, 0

    @property
    def total_s(self) -> float:
        return sum(self._times.values())

    def look(self) -> None:
        memory, alive = 0, 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [self._process, *self._process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    self._times[one.pid, one.create_time()] = times.user + times.system
                    memory, alive = memory + one.memory_info().rss, alive + 1
        self.peak_mb, self.peak_processes = max(self.peak_mb, memory / 1e6), max(self.peak_processes, alive)


def _look_through_logs(folder: Path, report: SoakReport) -> None:
    """Lines with a word of `TROUBLE` in all logs: of the daemon, of the runs, of the commands."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.suffix in (".log", ".err", ".out") and path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                words = [word for word in TROUBLE if word in line]
                found.update(words)
                if words and len(report.trouble_lines) < LINES_SHOWN:
                    report.trouble_lines.append(f"{path.name}: {line.strip()[:400]}")
    report.trouble = dict(found)


def _server_mb(stores: Stores) -> Iterator[tuple[str, float]]:
    urls = [url for url in (stores.history, stores.ledger) if url is not None]
    total = 0
    for url in urls:
        database = Database(url, upgrade=False)
        total += database.size()
        database.close()
    if urls:
        yield "postgresql", round(total / 1e6, 1)


def _mb(path: Path) -> float:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return round(sum(each.stat().st_size for each in files) / 1e6, 1)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])
