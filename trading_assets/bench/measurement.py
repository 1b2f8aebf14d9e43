"""What measurements through Dagster share: an exchange whose clock stands, and a module measured in its own process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from trading_assets.core.configuration import trial, trial_environment
from trading_assets.core.errors import ExchangeUnavailableError, StorageError
from trading_assets.core.settings import load_settings
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.files import SERVER_INFO
from trading_assets.simulator.launcher import ensure_running, health

READY_TIMEOUT_S = 20.0

FIRST_DAY = "2025-02-01"
"""The first partition of a measurement: some more than a year before the hours that are measured."""

MAX_COINS = 600
"""So many do not pass the usual filters, which are then open."""


@dataclass(frozen=True)
class Stores:
    """Where a measurement keeps Dagster's history and the ledger: URLs of PostgreSQL; None is SQLite in its home."""

    history: str | None = None
    ledger: str | None = None

    def dagster_yaml(self, home: Path) -> str:
        """Configuration of an instance whose files are in `home`."""
        if self.history is None:
            name, config = "BatchedSqliteStorage", {"base_dir": str(home / "dagster")}
        else:
            name, config = "BatchedPostgresStorage", {"postgres_url": self.history}
        custom = {"module": "trading_assets.defs.instance.storage", "class": name, "config": config}
        return json.dumps({"storage": {"custom": custom}, "telemetry": {"enabled": False}})

    def settings(self) -> dict[str, str]:
        """Settings of the project, without their prefix."""
        return {} if self.ledger is None else {"DATABASE_URL": self.ledger}


SQLITE = Stores()


def measured_environment(home: Path, symbols: int, coins: int, stores: Stores = SQLITE) -> dict[str, str]:
    """The environment of a run in `home`, with storage of its own: none of the user's settings but what is measured.

    Args:
        symbols: how many coins a scan keeps, of `coins` that the market has.
    """
    (home / "dagster.yaml").write_text(stores.dagster_yaml(home))
    settings = {"SIMULATOR_SYMBOLS": str(coins), "MAX_SYMBOLS": str(symbols), "PARTITIONS_START": FIRST_DAY}
    settings |= stores.settings()
    if coins == MAX_COINS:
        settings |= {"MIN_VOLUME_24H": "0", "MIN_VOLATILITY": "0", "MAX_SIZE_ERROR_PCT": "101"}
    return {**trial_environment(home, settings), "DAGSTER_HOME": str(home)}


@contextlib.contextmanager
def standing_exchange(home: Path, coins: int, now_ms: int) -> Iterator[psutil.Process]:
    """The embedded exchange of `home` in a process of its own, its clock standing at `now_ms` (UTC ms).

    Raises:
        ExchangeUnavailableError: it does not start.
    """
    clock = ClockSpec(ClockMode.MANUAL, start_ms=now_ms)
    with trial(home, {"SIMULATOR_SYMBOLS": coins}):
        url = ensure_running(load_settings(), clock=clock)
    try:
        answer = health(url)
        yield psutil.Process(int(answer["pid"])) if answer else psutil.Process()
    finally:
        requests.post(f"{url}/admin/stop", timeout=10)


def run_measured(module: str, *arguments: int, environment: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    """What a module prints on its last line, one JSON object, when it is run in its environment's `DAGSTER_HOME`.

    Raises:
        StorageError: it failed; the message has its last words.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment,
        cwd=environment["DAGSTER_HOME"],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise StorageError(f"the measured run ({module}) failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def serving(symbols: int, *options: str) -> Iterator[tuple[psutil.Process, int]]:
    """An exchange with a new account and without limits, on the real clock unless `options` say otherwise.

    Raises:
        ExchangeUnavailableError: it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-m", "trading_assets.simulator", "--home", folder, "--symbols", str(symbols)]
        command += ["--deposit", "1000000", *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield psutil.Process(process.pid), _port(home, process)
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()


def _port(home: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            return int(json.loads((home / SERVER_INFO).read_text())["url"].rpartition(":")[2])
        time.sleep(0.02)
    raise ExchangeUnavailableError(f"the embedded exchange did not start within {READY_TIMEOUT_S:.0f} s")
