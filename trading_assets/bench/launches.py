"""`trading-assets bench launches`: how soon a run that the trade sensor asked for is at its first step.

Once with a process for each run, as everywhere, and once with a Celery worker that has everything imported already.
Both times Dagster's history is on this machine, so that the launchers alone differ.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from trading_assets.bench.harness import installed
from trading_assets.bench.latency import TIMEFRAME
from trading_assets.bench.measurement import cpu_s
from trading_assets.chaos.signal_source import EAGER
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError

SPEED = 12.0
"""A candle of a minute every five seconds: the sensor finds one nearly each time that it looks."""

WORKER_READY_WITHIN_S = 120.0
PATIENCE_S = 1200.0

_LAUNCHER = """
run_launcher:
  module: trading_assets.defs.instance.workers.launcher
  class: WorkersRunLauncher
  config: {{broker: {broker}, namespace: {namespace}}}
"""


@dataclass(frozen=True)
class Launches:
    """Seconds from a run's entry into Dagster's queue to its first step.

    Attributes:
        queued_p50_s: of it, until it was launched: the same for every launcher.
        cpu_s: processor time a run, of daemon, code server, sensor, run and worker together.
    """

    launcher: str
    runs: int
    p50_s: float
    p90_s: float
    queued_p50_s: float
    cpu_s: float


def measure_launches(samples: int, broker: str, say: Callable[[str], None]) -> list[Launches]:
    """So many runs with a process each; and as many on a worker, where a broker is given.

    Raises:
        ConfigurationError: the extra `celery` is not installed.
        ExchangeUnavailableError: a part does not start, or the runs do not come.
    """
    found = [_measure("a process for each run", samples, "", say)]
    if broker:
        if find_spec("dagster_celery") is None:
            raise ConfigurationError("dagster-celery is not installed: pip install '.[celery]', or give --broker ''")
        found.append(_measure("Celery worker", samples, broker, say))
    return found


def _measure(launcher: str, samples: int, broker: str, say: Callable[[str], None]) -> Launches:
    # Only now: it opens the Dagster instance of the environment.
    from trading_assets.defs.run_history import RunHistory  # noqa: PLC0415

    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    section = _LAUNCHER.format(broker=json.dumps(broker), namespace=namespace) if broker else ""
    say(f"{launcher}: starting exchange and daemon")
    with contextlib.ExitStack() as stack:
        harness = stack.enter_context(
            installed(
                symbols=3,
                timeframe=TIMEFRAME,
                strategy="bollinger_rsi",
                parameters=EAGER,
                mode="once",
                speed=SPEED,
                run_launcher=section,
            )
        )
        worker = stack.enter_context(_worker(harness.settings.home, broker, namespace)) if broker else None
        history = RunHistory()
        stack.callback(history.close)

        def cpu() -> float:
            return harness.daemon_cpu_s() + (_tree_cpu_s(worker) if worker else 0.0)

        deadline = time.monotonic() + PATIENCE_S
        # The first runs meet a daemon that has just started, and numba's first call.
        while len(history.starts("trade")) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        passed, before = len(history.starts("trade")), cpu()
        starts = history.starts("trade")[passed:]
        while len(starts) < samples and time.monotonic() < deadline:
            time.sleep(1.0)
            starts = history.starts("trade")[passed:]
        if len(starts) < samples:
            raise ExchangeUnavailableError(f"{len(starts)} of {samples} runs came within {PATIENCE_S:.0f} s")
        spent = (cpu() - before) / len(starts)
    taken = sorted(start.queued_s + start.launched_s for start in starts)
    queued = sorted(start.queued_s for start in starts)
    half, most = len(taken) // 2, int(len(taken) * 0.9)
    return Launches(
        launcher, len(taken), round(taken[half], 2), round(taken[most], 2), round(queued[half], 2), round(spent, 2)
    )


@contextlib.contextmanager
def _worker(folder: Path, broker: str, namespace: str) -> Iterator[psutil.Process]:
    """A worker of the trading queue, once it is ready."""
    from trading_assets.defs.instance.workers.launcher import forget  # noqa: PLC0415 (not installed by default)

    node = f"trading@{namespace}"
    log = folder / "worker.log"
    command = ["-m", "celery", "-A", "trading_assets.celery_app:trading", "worker", "-n", node, "-l", "INFO"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command, "--concurrency", "3"], cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + WORKER_READY_WITHIN_S
    try:
        while f"{node} ready" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                raise ExchangeUnavailableError(f"the Celery worker did not get ready:\n{tail}")
            time.sleep(0.5)
        yield psutil.Process(process.pid)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait(30)
        forget(broker, namespace)


def _tree_cpu_s(process: psutil.Process) -> float:
    return sum(cpu_s(one) for one in (process, *process.children(recursive=True)))
