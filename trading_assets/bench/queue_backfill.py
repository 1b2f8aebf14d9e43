"""`trading-assets bench backfill --workers`: a range split over Celery workers, each on a core of its own.

`trading-assets backfill --queue` asks for it, in an installation with a daemon and so many workers of one run each.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from trading_assets.bench.harness import end_family
from trading_assets.bench.measurement import Stores, cpu_s, measured_environment, standing_exchange
from trading_assets.bench.research import END_MS
from trading_assets.core.errors import ExchangeUnavailableError, StorageError
from trading_assets.core.timeframes import HOUR_MS, hour_key

READY_WITHIN_S = 240.0
_COINS = 80


def backfill_by_workers(
    days: int, symbols: int, workers: int, broker: str, stores: Stores, say: Callable[[str], None]
) -> dict[str, Any]:
    """Wall seconds of so many days, from the command to its end, and CPU seconds of the workers.

    Args:
        workers: each has one run at a time, and one core.

    Raises:
        StorageError: the backfill failed; the message has its last words.
        ExchangeUnavailableError: a worker does not get ready.
    """
    from trading_assets.defs.instance.workers.launcher import forget  # noqa: PLC0415 (not installed by default)

    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        # Without sensors: their runs would take the places of the backfill's, and wait for workers that trade.
        environment = {**measured_environment(home, symbols, _COINS, stores), "TRADING_ASSETS_AUTOMATION": "off"}
        (home / "dagster.yaml").write_text(json.dumps(_instance(home, stores, broker, namespace, workers)))
        stack.enter_context(standing_exchange(home, _COINS, END_MS + 5_000))
        stack.callback(forget, broker, namespace)
        say(f"starting the daemon and {workers} workers")
        stack.enter_context(_started(home, environment, "daemon", "dagster._daemon", "run", "-m", _DEFINITIONS))
        hired = [stack.enter_context(_worker(home, environment, namespace, number)) for number in range(workers)]
        before = sum(map(_family_cpu_s, hired))
        first, last = hour_key(END_MS - days * 24 * HOUR_MS), hour_key(END_MS - HOUR_MS)
        asked = ["backfill", "--queue", "--processes", str(workers), "--from", first, "--to", last]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "trading_assets.cli.main", *asked],
            cwd=home, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        wall = time.perf_counter() - began
        if done.returncode:
            raise StorageError(f"the backfill failed: {done.stdout[-500:]}{done.stderr[-1000:]}")
        spent = sum(map(_family_cpu_s, hired)) - before
    return {
        "days": days,
        "symbols": symbols,
        "workers": workers,
        "wall_s": round(wall, 1),
        "workers_cpu_s": round(spent, 1),
        "load": round(psutil.getloadavg()[0], 1),
    }


_DEFINITIONS = "trading_assets.definitions"


def _instance(home: Path, stores: Stores, broker: str, namespace: str, workers: int) -> dict[str, Any]:
    """The configuration of `deploy/celery`, with so many runs of backfills at once."""
    limit = {"key": "trading_assets/concurrency_group", "value": "backfill", "limit": workers}
    return json.loads(stores.dagster_yaml(home)) | {
        "run_launcher": {
            "module": "trading_assets.defs.instance.workers.launcher",
            "class": "WorkersRunLauncher",
            "config": {"broker": broker, "namespace": namespace},
        },
        "run_coordinator": {
            "module": "trading_assets.defs.instance.concurrency_groups",
            "class": "ConcurrencyGroupRunCoordinator",
            "config": {"dequeue_interval_seconds": 1},
        },
        "concurrency": {"runs": {"max_concurrent_runs": workers, "tag_concurrency_limits": [limit]}},
    }


@contextlib.contextmanager
def _started(home: Path, environment: Mapping[str, str], name: str, *command: str) -> Iterator[psutil.Process]:
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=home, env=dict(environment), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        end_family(process, signal.SIGINT)


@contextlib.contextmanager
def _worker(home: Path, environment: Mapping[str, str], namespace: str, number: int) -> Iterator[psutil.Process]:
    name = f"research{number}"
    node = f"{name}@{namespace}"
    command = ("celery", "-A", "trading_assets.celery_app:research", "worker", "-n", node, "-c", "1", "-l", "INFO")
    with _started(home, environment, name, *command) as process:
        cores = process.cpu_affinity()
        process.cpu_affinity([cores[number % len(cores)]])
        log, deadline = home / f"{name}.log", time.monotonic() + READY_WITHIN_S
        while f"{node} ready" not in log.read_text(errors="replace"):
            if not process.is_running() or time.monotonic() > deadline:
                raise ExchangeUnavailableError(f"{name} did not get ready:\n{log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.5)
        # Its processes may have been forked before.
        for child in process.children(recursive=True):
            child.cpu_affinity(process.cpu_affinity())
        yield process


def _family_cpu_s(process: psutil.Process) -> float:
    return sum(cpu_s(one) for one in (process, *process.children(recursive=True)))
