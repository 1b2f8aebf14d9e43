"""An embedded exchange in a process of its own, to be measured: start, port, processor time, stop."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.simulator.files import SERVER_INFO

READY_TIMEOUT_S = 20.0


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
